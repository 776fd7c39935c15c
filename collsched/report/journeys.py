"""The way of single chunks through the fabric: every hop with its times, for as many chunks as a page can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collsched.collective import Kind
from collsched.ir.schedule import REDUCE
from collsched.plan import Plan
from collsched.report.motion import Motion

MOST_HOPS = 30_000
FEW = 12  # chunks, where all of them would be too many hops


@dataclass(frozen=True, slots=True)
class Journey:
    """Chunk `part` of `parts` of a shard: `start` is the node that owns the shard (where an allreduce sums it), `end`
    the one node it goes to, if it is one. Per hop, in order of time: the route of the schedule, whether it reduces, and
    the seconds at which its first piece leaves and arrives and its last piece leaves and arrives."""

    start: int
    end: int | None
    part: int
    parts: int
    nbytes: int
    depth: int
    routes: tuple[int, ...]
    reduces: tuple[bool, ...]
    times: tuple[tuple[float, float, float, float], ...]


def journeys(plan: Plan, motion: Motion, nbytes: int) -> list[Journey]:
    """All chunks that move, or a few that are spread evenly over the ranks."""
    moving, hops = np.unique(motion.chunk, return_counts=True)
    if hops.sum() > MOST_HOPS:
        few = max(1, min(FEW, int(MOST_HOPS // hops.max())))
        moving = moving[np.linspace(0, len(moving) - 1, few).astype(np.int64)]
    chunks = plan.schedule().chunks
    lo, hi = chunks.ranges(plan.collective, plan.collective.total(nbytes))
    order = np.argsort(motion.chunk, kind="stable")
    begin = np.searchsorted(motion.chunk[order], moving)
    end = np.searchsorted(motion.chunk[order], moving, side="right")
    first = np.searchsorted(chunks.shard, np.arange(int(chunks.shard.max(initial=0)) + 2))
    found = []
    for chunk, one, two in zip(moving.tolist(), begin.tolist(), end.tolist(), strict=True):
        mine = order[one:two]
        mine = mine[np.argsort(motion.times[mine, 0], kind="stable")]
        shard = int(chunks.shard[chunk])
        start, goal = _ends(plan, shard)
        found.append(
            Journey(
                start, goal, chunk - int(first[shard]) + 1, int(first[shard + 1] - first[shard]),
                int(hi[chunk] - lo[chunk]), _depth(plan, motion, mine.tolist()), tuple(motion.hop_route[mine].tolist()),
                tuple((motion.op[mine] == REDUCE).tolist()), tuple(map(tuple, motion.times[mine].tolist())),
            )
        )  # fmt: skip
    return found


def _ends(plan: Plan, shard: int) -> tuple[int, int | None]:
    """The node that a shard belongs to, and of an all-to-all the one that it goes to."""
    topology, collective = plan.topology, plan.collective
    if collective.kind is Kind.ALL_TO_ALL:
        return topology.ranks[collective.owners[shard]], topology.ranks[collective.target(shard)]
    return topology.ranks[collective.owners[shard]], None


def _depth(plan: Plan, motion: Motion, hops: list[int]) -> int:
    """The most hops, one after the other, that a byte of the chunk takes; hops in order of time."""
    routes, links = motion.schedule.routes, plan.topology.links
    reached: dict[int, int] = {}
    for hop in hops:
        route = int(motion.hop_route[hop])
        src = links[routes.links[routes.ptr[route]]].src
        dst = links[routes.links[routes.ptr[route + 1] - 1]].dst
        reached[dst] = max(reached.get(dst, 0), reached.get(src, 0) + 1)
    return max(reached.values(), default=0)
