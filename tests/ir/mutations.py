"""Ways to break a schedule. Each takes a random source and a schedule and returns a broken copy, or None."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from collsched.ir.schedule import Joins, Schedule

Mutation = Callable[[random.Random, Schedule], Schedule | None]


def _pick(rng: random.Random, candidates: np.ndarray) -> int | None:  # type: ignore[type-arg]
    return int(rng.choice(candidates.tolist())) if len(candidates) else None


def _with(schedule: Schedule, column: str, at: int, value: int) -> Schedule:
    changed = getattr(schedule.transfers, column).copy()
    changed[at] = value
    return replace(schedule, transfers=replace(schedule.transfers, **{column: changed}))


def dropped_transfer(rng: random.Random, schedule: Schedule) -> Schedule | None:
    t, count = schedule.transfers, len(schedule.transfers.chunk)
    if (x := _pick(rng, np.arange(count))) is None:
        return None
    keep = np.arange(count) != x
    alive = schedule.joins.member != x
    sizes = np.array([alive[a:b].sum() for a, b in pairwise(schedule.joins.ptr)], np.int64)
    member = schedule.joins.member[alive]
    joins = Joins(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), member - (member > x).astype(np.int32))
    columns = {name: getattr(t, name)[keep] for name in ("chunk", "route", "op", "join", "channel")}
    return replace(schedule, transfers=replace(t, **columns), joins=joins)


def duplicated_transfer(rng: random.Random, schedule: Schedule) -> Schedule | None:
    t = schedule.transfers
    if (x := _pick(rng, np.arange(len(t.chunk)))) is None:
        return None
    columns = {
        name: np.append(getattr(t, name), getattr(t, name)[x]) for name in ("chunk", "route", "op", "join", "channel")
    }
    return replace(schedule, transfers=replace(t, **columns))


def swapped_chunk(rng: random.Random, schedule: Schedule) -> Schedule | None:
    x = _pick(rng, np.arange(len(schedule.transfers.chunk)))
    if x is None or len(schedule.chunks.shard) < 2:
        return None
    others = np.delete(np.arange(len(schedule.chunks.shard)), schedule.transfers.chunk[x])
    return _with(schedule, "chunk", x, rng.choice(others.tolist()))


def dropped_dependency(rng: random.Random, schedule: Schedule) -> Schedule | None:
    x = _pick(rng, np.flatnonzero(schedule.transfers.join > 0))
    return None if x is None else _with(schedule, "join", x, 0)


def dropped_member(rng: random.Random, schedule: Schedule) -> Schedule | None:
    x = _pick(rng, np.arange(len(schedule.joins.member)))
    if x is None:
        return None
    ptr = schedule.joins.ptr - (schedule.joins.ptr > x)
    return replace(schedule, joins=Joins(ptr, np.delete(schedule.joins.member, x)))


def other_dependency(rng: random.Random, schedule: Schedule) -> Schedule | None:
    x = _pick(rng, np.arange(len(schedule.transfers.chunk)))
    if x is None or len(schedule.joins.ptr) < 3:
        return None
    others = np.delete(np.arange(len(schedule.joins.ptr) - 1), schedule.transfers.join[x])
    return _with(schedule, "join", x, rng.choice(others.tolist()))


def wrong_operation(rng: random.Random, schedule: Schedule) -> Schedule | None:
    x = _pick(rng, np.arange(len(schedule.transfers.chunk)))
    return None if x is None else _with(schedule, "op", x, 1 - schedule.transfers.op[x])


def wrong_route(rng: random.Random, schedule: Schedule) -> Schedule | None:
    x = _pick(rng, np.arange(len(schedule.transfers.chunk)))
    routes = len(schedule.routes.ptr) - 1
    if x is None or routes < 2:
        return None
    return _with(schedule, "route", x, rng.choice(np.delete(np.arange(routes), schedule.transfers.route[x]).tolist()))


def broken_route(rng: random.Random, schedule: Schedule) -> Schedule | None:
    used = np.flatnonzero(np.isin(np.arange(len(schedule.routes.ptr) - 1), schedule.transfers.route))
    if not len(used):
        return None
    route = rng.choice(used.tolist())
    links = schedule.routes.links.copy()
    at = rng.randrange(schedule.routes.ptr[route], schedule.routes.ptr[route + 1])
    links[at] = 0 if links[at] else max(schedule.routes.links.max(), 1)
    return replace(schedule, routes=replace(schedule.routes, links=links))


def shortened_chunk(rng: random.Random, schedule: Schedule) -> Schedule | None:
    length = schedule.chunks.length.copy()
    length[rng.randrange(len(length))] -= 1
    return replace(schedule, chunks=replace(schedule.chunks, length=length))


def moved_chunk(rng: random.Random, schedule: Schedule) -> Schedule | None:
    offset = schedule.chunks.offset.copy()
    offset[rng.randrange(len(offset))] += rng.choice((-1, 1))
    return replace(schedule, chunks=replace(schedule.chunks, offset=offset))


def reversed_order(rng: random.Random, schedule: Schedule) -> Schedule | None:
    """Issue everything in reverse: a deadlock where dependent transfers share a lane, harmless elsewhere."""
    t, last = schedule.transfers, len(schedule.transfers.chunk) - 1
    if last < 1:
        return None
    ptr, member = schedule.joins.ptr, last - schedule.joins.member
    parts = [np.sort(member[a:b]) for a, b in pairwise(ptr)]
    columns = {name: getattr(t, name)[::-1].copy() for name in ("chunk", "route", "op", "join", "channel")}
    return replace(schedule, transfers=replace(t, **columns), joins=Joins(ptr, np.concatenate(parts).astype(np.int32)))


MUTATIONS: tuple[Mutation, ...] = (
    dropped_transfer,
    duplicated_transfer,
    swapped_chunk,
    dropped_dependency,
    dropped_member,
    other_dependency,
    wrong_operation,
    wrong_route,
    broken_route,
    shortened_chunk,
    moved_chunk,
    reversed_order,
)
