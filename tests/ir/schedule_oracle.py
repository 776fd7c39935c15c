"""A slow and obvious verifier: sets, dictionaries and fractions, nothing shared with the fast one.

It decides races exactly, by asking for every two accesses of a place whether joins order them, where the fast verifier
asks for sufficient conditions; so it may accept a little more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import combinations, pairwise

from collsched.collective import Collective, Kind
from collsched.ir.schedule import REDUCE, Schedule
from collsched.topology.model import Topology


class Wrong(Exception):
    """The schedule is wrong; the text says why."""


def judge(topology: Topology, schedule: Schedule) -> str | None:
    """Why the schedule is wrong, or None."""
    try:
        _judge(topology, schedule)
    except Wrong as error:
        return str(error)
    return None


def _judge(topology: Topology, schedule: Schedule) -> None:
    t = schedule.transfers
    count = len(t.chunk)
    ends = [_ends(topology, route) for route in _parts(schedule.routes.ptr, schedule.routes.links)]
    joins = _parts(schedule.joins.ptr, schedule.joins.member)
    _check_chunks(schedule)
    src = [ends[r][0] for r in t.route]
    dst = [ends[r][1] for r in t.route]
    chunk, op = t.chunk.tolist(), t.op.tolist()
    _check_switches(topology, src, dst, chunk, op)
    waits = [set(joins[j]) for j in t.join.tolist()]
    order = _order(count, waits, list(zip(t.route.tolist(), t.channel.tolist(), strict=True)))
    before = _ancestors(order, waits)
    _check_races(count, src, dst, chunk, op, before)
    state = _start(schedule.collective, schedule.chunks.shard.tolist())
    for i in order:
        moved = state.get((chunk[i], src[i]))
        if moved is None:
            raise Wrong(f"{i} sends nothing")
        place = (chunk[i], dst[i])
        if op[i] == REDUCE:
            if place not in state or not schedule.collective.kind.reduces:
                raise Wrong(f"{i} reduces onto nothing")
            state[place] = state[place] + moved
        else:
            state[place] = moved
    _check_end(schedule.collective, schedule.chunks.shard.tolist(), state)


def _parts(ptr, values) -> list[list[int]]:  # type: ignore[no-untyped-def]
    return [values[a:b].tolist() for a, b in pairwise(ptr.tolist())]


def _check_switches(topology: Topology, src: list[int], dst: list[int], chunk: list[int], op: list[int]) -> None:
    switch = [node for node in topology.nodes if node.multicast or node.reduce]
    first = len(topology.ranks)
    sent = Counter((c, place) for c, place in zip(chunk, src, strict=True) if place >= first)
    if any(times > 1 and not switch[place - first].multicast for (_, place), times in sent.items()):
        raise Wrong("a switch that cannot multicast sends twice")
    into = [place - first for o, place in zip(op, dst, strict=True) if o == REDUCE and place >= first]
    if not all(switch[place].reduce for place in into):
        raise Wrong("a switch that cannot reduce does")


def _ends(topology: Topology, route: list[int]) -> tuple[int, int]:
    """The ends as rank numbers; able switches are numbered after the ranks."""
    holders = [*topology.ranks, *(i for i, node in enumerate(topology.nodes) if node.multicast or node.reduce)]
    links = [topology.links[i] for i in route]
    for one, two in pairwise(links):
        if one.dst != two.src or one.dst in topology.ranks:
            raise Wrong("a route is no path through switches")
    if links[0].src not in holders or links[-1].dst not in holders or links[0].src == links[-1].dst:
        raise Wrong("a route does not join two nodes that hold data")
    return holders.index(links[0].src), holders.index(links[-1].dst)


def _check_chunks(schedule: Schedule) -> None:
    c = schedule.chunks
    parts: dict[int, list[tuple[Fraction, Fraction]]] = defaultdict(list)
    for shard, offset, length, whole in zip(
        *(x.tolist() for x in (c.shard, c.offset, c.length, c.denominator)), strict=True
    ):
        parts[shard].append((Fraction(offset, whole), Fraction(offset + length, whole)))
    for shard, weight in enumerate(schedule.collective.shards):
        borders = [Fraction(0), *(x for part in sorted(parts[shard]) for x in part), Fraction(1)]
        gaps = [a for a, b in zip(borders[::2], borders[1::2], strict=True) if a != b]
        if (weight and gaps) or (not weight and parts[shard]) or any(a >= b for a, b in parts[shard]):
            raise Wrong(f"shard {shard} is not partitioned")


def _order(count: int, waits: list[set[int]], lanes: list[tuple[int, int]]) -> list[int]:
    needs = [set(w) for w in waits]
    last: dict[tuple[int, int], int] = {}
    for i, lane in enumerate(lanes):
        if lane in last:
            needs[i].add(last[lane])
        last[lane] = i
    order: list[int] = []
    done: set[int] = set()
    while len(order) < count:
        ready = [i for i in range(count) if i not in done and needs[i] <= done]
        if not ready:
            raise Wrong("deadlock")
        order += ready
        done |= set(ready)
    return order


def _ancestors(order: list[int], waits: list[set[int]]) -> list[set[int]]:
    before: list[set[int]] = [set() for _ in order]
    for i in order:
        for j in waits[i]:
            before[i] |= before[j] | {j}
    return before


def _check_races(count, src, dst, chunk, op, before) -> None:  # type: ignore[no-untyped-def]
    places = defaultdict(list)
    for i in range(count):
        places[chunk[i], src[i]].append((i, "read"))
        places[chunk[i], dst[i]].append((i, "reduce" if op[i] == REDUCE else "copy"))
    for accesses in places.values():
        for (i, one), (j, two) in combinations(accesses, 2):
            if {one, two} in ({"read"}, {"reduce"}):
                continue
            if i not in before[j] and j not in before[i]:
                raise Wrong(f"{i} and {j} race")


def _start(collective: Collective, shards: list[int]) -> dict[tuple[int, int], Counter[int]]:
    state = {}
    for chunk, shard in enumerate(shards):
        owner = collective.owners[shard]
        match collective.kind:
            case Kind.ALLREDUCE | Kind.REDUCE | Kind.REDUCE_SCATTER:
                sources = collective.group
            case Kind.ALLGATHER | Kind.GATHER:
                sources = (owner,)
            case _:
                sources = (collective.root,)  # type: ignore[assignment]
        state |= {(chunk, rank): Counter([rank]) for rank in sources}
    return state


def _check_end(collective: Collective, shards: list[int], state: dict[tuple[int, int], Counter[int]]) -> None:
    for chunk, shard in enumerate(shards):
        owner = collective.owners[shard]
        match collective.kind:
            case Kind.ALLREDUCE:
                ends, value = collective.group, Counter(collective.group)
            case Kind.REDUCE_SCATTER:
                ends, value = (owner,), Counter(collective.group)
            case Kind.REDUCE:
                ends, value = (collective.root,), Counter(collective.group)  # type: ignore[assignment]
            case Kind.ALLGATHER:
                ends, value = collective.group, Counter([owner])
            case Kind.GATHER:
                ends, value = (collective.root,), Counter([owner])  # type: ignore[assignment]
            case Kind.BROADCAST:
                ends, value = collective.group, Counter([collective.root])
            case _:
                ends, value = (owner,), Counter([collective.root])
        if any(state.get((chunk, rank)) != value for rank in ends):
            raise Wrong(f"chunk {chunk} does not end as promised")
