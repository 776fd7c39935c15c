"""Plain transfers in two JSON files that independent checkers read (docs/plan-format.md describes them)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective, Kind
from collsched.errors import InputError
from collsched.files import write_whole
from collsched.ir.schedule import REDUCE, Schedule
from collsched.ir.verify import verify
from collsched.plan import Plan
from collsched.topology.model import Topology

FILES = ("topology.json", "schedule.json")
MAX_SIZE = 1 << 60  # bytes of all buffers together
_BATCH = 1 << 12  # transfers put into words at once

Ints = NDArray[np.int64]


def write_transfers(
    plan: Plan, directory: str | Path, size: int, segments: int | None = None, *, force: bool = False
) -> int:
    """Write topology.json and schedule.json for buffers of `size` bytes, in the shape that the plan has for them; with
    every chunk cut into `segments` pieces, if given.

    The schedule is verified before anything is written; pieces of no bytes are left out. Returns the number of
    transfers. Raises VerificationError, and InputError if the size is out of range or the files exist (unless `force`)
    or cannot be written.
    """
    most = MAX_SIZE * plan.weight // sum(plan.collective.shards)
    if not 0 <= size <= most:
        raise InputError(f"size {size}; a number of bytes from 0 to {most}")
    schedule = plan.shaped(size, segments)
    verify(plan.topology, schedule)
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if not force and (directory / name).exists():
                raise InputError(f"{directory / name}: exists; choose another directory, or pass --force to replace it")
        write_whole(directory / FILES[0], [json.dumps(topology_object(plan.topology), ensure_ascii=False), "\n"])
        lo, hi = schedule.chunks.ranges(schedule.collective, schedule.collective.total(size))
        write_whole(directory / FILES[1], schedule_text(plan.topology, schedule, hi - lo))
    except OSError as error:
        raise InputError(
            f"{directory}: cannot be written: {error.strerror}; choose another directory with -o"
        ) from None
    return int((hi > lo)[schedule.transfers.chunk].sum())


def topology_object(topology: Topology) -> dict[str, object]:
    """Devices are numbered ranks first, then switches, both in the topology's order."""
    device = _devices(topology)
    order = np.argsort(device)
    return {
        "npus": len(topology.ranks),
        "devices": len(topology.nodes),
        "links": [
            [int(device[link.src]), int(device[link.dst]), _number(link.bandwidth), _number(link.alpha)]
            for link in topology.links
        ],
        "smart": sorted(int(device[i]) for i, node in enumerate(topology.nodes) if node.multicast or node.reduce),
        "names": [topology.nodes[i].name for i in order],
    }


def schedule_text(topology: Topology, schedule: Schedule, sizes: Ints) -> Iterator[str]:
    """The text of schedule.json, a line a chunk and a line a transfer. `sizes`: bytes of each chunk."""
    collective = schedule.collective
    kept = np.flatnonzero(sizes > 0)
    number = np.full(len(sizes), -1, np.int64)  # of a chunk, once the empty ones are left out
    number[kept] = np.arange(len(kept))
    head = {
        "collective": "alltoall" if collective.kind is Kind.ALL_TO_ALL else str(collective.kind).replace("-", "_"),
        "root": collective.root,
        "group": list(collective.group),
    }
    yield json.dumps(head)[:-1] + ', "chunks": [\n'
    yield ",\n".join(
        json.dumps({"id": i, "bytes": int(sizes[c]), **_ends(collective, int(schedule.chunks.shard[c]))})
        for i, c in enumerate(kept)
    )
    yield '\n], "transfers": [\n'
    yield from _transfers(topology, schedule, number)
    yield "\n]}\n"


def _transfers(topology: Topology, schedule: Schedule, chunk_number: Ints) -> Iterator[str]:
    transfers = schedule.transfers
    join, joins = schedule.awaited()
    alive = chunk_number[transfers.chunk] >= 0
    number = np.where(alive, np.cumsum(alive) - 1, -1)
    members = number[joins.member]
    routes = _route_texts(topology, schedule)
    kept = np.flatnonzero(alive)
    for first in range(0, len(kept), _BATCH):
        batch = kept[first : first + _BATCH]
        columns = (
            number[batch],
            transfers.route[batch],
            chunk_number[transfers.chunk[batch]],
            transfers.op[batch],
            joins.ptr[join[batch]],
            joins.ptr[join[batch] + 1],
            transfers.channel[batch],
        )
        lines = [
            f'{{"id": {i}, {routes[route]}, "chunk": {chunk}, "op": "{"reduce" if op == REDUCE else "copy"}", '
            f'"deps": {[m for m in members[begin:end].tolist() if m >= 0]}, "chan": {channel}}}'
            for i, route, chunk, op, begin, end, channel in zip(*(c.tolist() for c in columns), strict=True)
        ]
        yield (",\n" if first else "") + ",\n".join(lines)


def _route_texts(topology: Topology, schedule: Schedule) -> list[str]:
    """For each route, its ends and path as they stand in a transfer."""
    device, routes = _devices(topology).tolist(), schedule.routes
    links = [(device[link.src], device[link.dst]) for link in topology.links]
    entries = routes.links.tolist()
    texts = []
    for begin, end in pairwise(routes.ptr.tolist()):
        path = [links[entries[begin]][0], *(links[i][1] for i in entries[begin:end])]
        texts.append(f'"src": {path[0]}, "dst": {path[-1]}, "path": {path}')
    return texts


def _ends(collective: Collective, shard: int) -> dict[str, int | None]:
    """Who starts or ends with a chunk of the shard, as far as that is one rank."""
    owner = collective.owners[shard]
    match collective.kind:
        case Kind.ALLGATHER | Kind.REDUCE_SCATTER:
            return {"owner": owner, "dst": None}
        case Kind.GATHER:
            return {"owner": owner, "dst": collective.root}
        case Kind.SCATTER:
            return {"owner": collective.root, "dst": owner}
        case Kind.ALL_TO_ALL:
            return {"owner": owner, "dst": collective.target(shard)}
        case _:
            return {"owner": None, "dst": None}


def _devices(topology: Topology) -> Ints:
    """Node id → device number."""
    switch = np.array([node.kind != "rank" for node in topology.nodes])
    device = np.empty(len(switch), np.int64)
    device[np.argsort(switch, kind="stable")] = np.arange(len(switch))
    return device


def _number(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
