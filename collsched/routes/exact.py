"""Routings as good as ideal spraying: wrap-around on a uniform leaf–spine, else a linear program at a vertex.

The program is first solved for the overfull links alone: flows that cross a link beyond the target are free, the
others stay. That keeps nearly every flow whole, and where the result meets the bound nothing is left to gain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from collsched.routes.model import I64, Subflows, join, whole
from collsched.routes.network import GIGA, Network
from collsched.routes.program import MOST_VARIABLES, Commodities, fill, solve
from collsched.routes.whole import choosers_of, clos_of
from collsched.routes.wrap import wrap


@dataclass(frozen=True, slots=True)
class Found:
    """A routing and a limit that no routing of the same flows beats (seconds)."""

    subflows: Subflows
    proven: Fraction
    method: str


def within(network: Network, subflows: Subflows, seconds: Fraction) -> bool:
    """Whether no link takes longer than `seconds`, but for a byte on each piece."""
    return not len(overfull(network, subflows, seconds))


def overfull(network: Network, subflows: Subflows, seconds: Fraction) -> I64:
    """Links that take longer than `seconds` even with a byte less on each piece."""
    spare = network.loads(replace(subflows, bytes=subflows.bytes - 1))
    near = np.flatnonzero(spare / network.rate > float(seconds) * (1 - 1e-9))
    room = {int(c): int(seconds * c * GIGA / network.unit) for c in np.unique(network.capacity[near])}
    return near[[int(spare[link]) > room[int(network.capacity[link])] for link in near.tolist()]]


def perfect(network: Network, base: Subflows, bound: Fraction) -> Found:
    """A routing at the optimum, starting from `base`: whole flows, or a routing to be mended."""
    if within(network, base, bound):
        return Found(base, bound, "no split needed" if len(base) == len(network.flows) else "overfull links mended")
    wrapped = _wrapped(network)
    if wrapped is not None and within(network, wrapped, bound):
        return Found(wrapped, bound, "wrapped around the spines")
    mended = mend(network, base, bound)
    if mended is not None and within(network, mended, bound):
        return Found(mended, bound, "linear program on the overfull links")
    parts = spans(base)
    commodities = Commodities.of(network, parts)
    if commodities.variables > MOST_VARIABLES:
        best = base if mended is None else min((base, mended), key=lambda one: network.congestion(network.loads(one)))
        return Found(best, bound, "too many paths for the whole linear program")
    return _free(network, parts, np.ones(len(parts), bool), bound, "linear program")


def _free(network: Network, parts: Subflows, free: np.ndarray, bound: Fraction, method: str) -> Found:
    """The program's routing where the parts in `free` may take any path and the others stay."""
    stays, moves = parts.take(np.flatnonzero(~free)), parts.take(np.flatnonzero(free))
    commodities = Commodities.of(network, moves)
    vertex = solve(network, commodities, network.loads(stays))
    return Found(tidy(join([stays, fill(commodities, vertex.bytes)])), max(bound, vertex.proven), method)


def mend(
    network: Network, base: Subflows, target: Fraction, *, free: np.ndarray | None = None, rounds: int = 2
) -> Subflows | None:
    """`base` with some subflows spread anew: those in `free` (a mask; by default those on overfull links), in later
    rounds those on links that are too full then. None where that is too large a program or gains nothing."""
    mended = None
    worst = overfull(network, base, target)
    free = network.crossing(base, worst) if free is None else free.copy()
    several = np.diff(network.paths.begin)[network.paths.pair[base.flow]] > 1
    for _ in range(rounds):
        free &= several & (base.bytes > 0)
        chosen = base.take(np.flatnonzero(free))
        if not len(chosen) or Commodities.of(network, chosen).variables > MOST_VARIABLES // 4:
            return mended
        mended = _free(network, base, free, target, "").subflows
        worst = np.union1d(worst, overfull(network, mended, target))
        if within(network, mended, target):
            return mended
        free |= network.crossing(base, worst)
    return mended


def _wrapped(network: Network) -> Subflows | None:
    """T2 where it applies: two tiers, equal sizes."""
    choosers = choosers_of(network)
    known = clos_of(network, choosers)
    if known is None or known[0].tiers != 2:
        return None
    flows = network.flows.take(choosers)
    if int(flows.bytes.min()) != int(flows.bytes.max()):
        return None
    clos, pair = known
    pieces = wrap(clos, flows, pair)
    pieces = Subflows(choosers[pieces.flow], pieces.offset, pieces.bytes, pieces.path)
    others = np.setdiff1d(np.arange(len(network.flows)), choosers)
    return join([whole_first(network).take(others), pieces]).in_order()


def whole_first(network: Network) -> Subflows:
    """Every flow whole on its first path."""
    return whole(network.flows, network.paths.begin[network.paths.pair])


def tidy(subflows: Subflows) -> Subflows:
    """In order of flow and offset, with neighbours on the same path made one."""
    ordered = subflows.in_order()
    if not len(ordered):
        return ordered
    end = ordered.offset + ordered.bytes
    same = (
        (ordered.flow[1:] == ordered.flow[:-1])
        & (ordered.path[1:] == ordered.path[:-1])
        & (ordered.offset[1:] == end[:-1])
    )
    begins = np.flatnonzero(np.concatenate([[True], ~same]))
    return Subflows(
        ordered.flow[begins], ordered.offset[begins], np.add.reduceat(ordered.bytes, begins), ordered.path[begins]
    )


def merge(network: Network, subflows: Subflows, limit: Fraction) -> Subflows:
    """Fewer pieces, no link beyond `limit` seconds: a flow's smallest piece joins another of its pieces where there is
    room. Bytes of a flow are dealt out anew, so the pieces stay contiguous."""
    ordered = subflows.in_order()
    loads = network.loads(ordered)
    room = {int(c): int(limit * int(c) * GIGA / network.unit) for c in np.unique(network.capacity)}
    most = np.array([room[int(c)] for c in network.capacity], np.int64)
    size, alive = ordered.bytes.copy(), np.ones(len(ordered), bool)
    begins = np.flatnonzero(np.concatenate([[True], ordered.flow[1:] != ordered.flow[:-1]]))
    ends = np.concatenate([begins[1:], [len(ordered)]])
    for low, high in zip(begins.tolist(), ends.tolist(), strict=True):
        if high - low > 1:
            _merge_flow(network, ordered, low, high, loads, most, size, alive)
    kept = np.flatnonzero(alive)
    flow, sizes = ordered.flow[kept], size[kept]
    before = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    first = np.concatenate([[True], flow[1:] != flow[:-1]])
    start = before[np.maximum.accumulate(np.where(first, np.arange(len(kept)), 0))]
    base = ordered.offset[begins][np.cumsum(first) - 1]
    return Subflows(flow, base + before - start, sizes, ordered.path[kept])


def _merge_flow(
    network: Network,
    pieces: Subflows,
    low: int,
    high: int,
    loads: I64,
    most: I64,
    size: I64,
    alive: np.ndarray,
) -> None:
    """Moves the pieces low … high of one flow, smallest first, onto others of the same flow."""
    flow = int(pieces.flow[low])
    links = {piece: _links(network, flow, int(pieces.path[piece])) for piece in range(low, high)}
    for piece in sorted(range(low, high), key=lambda number: int(size[number])):
        here = links[piece]
        for other in sorted(links, key=lambda number: -int(size[number])):
            gained = np.setdiff1d(links[other], here)
            if other == piece or not alive[other] or (loads[gained] + size[piece] > most[gained]).any():
                continue
            loads[gained] += size[piece]
            loads[np.setdiff1d(here, links[other])] -= size[piece]
            size[other] += size[piece]
            alive[piece] = False
            break


def _links(network: Network, flow: int, path: int) -> np.ndarray:
    return np.unique(network.crossings(np.array([flow]), np.array([path]))[1])


def spans(subflows: Subflows) -> Subflows:
    """What the subflows carry, as few contiguous parts, their paths not decided."""
    return tidy(Subflows(subflows.flow, subflows.offset, subflows.bytes, np.zeros(len(subflows), np.int64)))
