"""New paths after a link has failed or slowed down, for the bytes that are left; nearly all subflows stay as they are.

Subflows on links that are out must move; those on slow links move as far as that helps. Everything else is background.
Only if the target is missed do subflows on the links that are too full then move as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from collsched.routes.bounds import best_cut
from collsched.routes.chains import along_chains
from collsched.routes.changes import changed, least_changed
from collsched.routes.exact import mend, overfull, tidy, within
from collsched.routes.model import I64, Flows, Subflows
from collsched.routes.network import GIGA, Network
from collsched.routes.paths import find_paths
from collsched.routes.settle import settle
from collsched.routes.whole import assign, narrow


@dataclass(frozen=True)
class Replan:
    """Subflows for what is left, over a network without the failed links."""

    network: Network
    subflows: Subflows
    extents: Subflows  # what is left: parts of flows, on their old paths where these exist
    moved: int  # subflows of before that are not carried as before
    least_moved: int  # what `moved` is at least in any routing of this congestion, as far as is known
    congestion: Fraction  # seconds


def replan(
    network: Network,
    subflows: Subflows,
    rates: Mapping[int, Fraction],
    *,
    sent: I64 | None = None,
    split: bool = True,
) -> Replan:
    """Paths for the bytes that are left once the links in `rates` (link id → GB/s, 0: out) have changed.

    `sent[i]` bytes at the start of subflow i have arrived; none by default. Whole subflows move where that is as good
    as cutting them; else, with `split`, they are spread by the linear program. The result is not judged yet: see
    `planner.check`. Raises UnreachableError where a flow has no path left.
    """
    gone = np.zeros(len(subflows), np.int64) if sent is None else sent
    left = Subflows(subflows.flow, subflows.offset + gone, subflows.bytes - gone, subflows.path)
    left = left.take(np.flatnonzero(left.bytes > 0))
    size = np.zeros(len(network.flows), np.int64)
    np.add.at(size, left.flow, left.bytes)
    flows = Flows(network.flows.src, network.flows.dst, size)
    now, old = _without(network.with_flows(flows), left, rates)
    lost = old < 0
    left = Subflows(left.flow, left.offset, left.bytes, np.where(lost, now.paths.begin[now.paths.pair[left.flow]], old))
    background = _without_these(now, left, lost)
    base = _move(now, left, lost, background)
    staying, limit = _limits(now, background, rates)
    target = max(staying, limit)
    if not within(now, base, target):
        base = along_chains(now, left, lost | _surplus(now, left, lost, rates, target), target) or base
    if split:
        found = tidy(_spread(now, left, base, lost, rates, limit, target))
    else:
        found = tidy(_shift(now, base, lost, rates, target))
    congestion = now.congestion(now.loads(found))
    least = least_changed(now, left, lost, congestion) if any(rates.values()) or congestion < staying else lost.sum()
    return Replan(now, found, left, changed(left, lost, found), int(least), congestion)


def _without(network: Network, left: Subflows, rates: Mapping[int, Fraction]) -> tuple[Network, I64]:
    """The network after the change, and the path there of each subflow, below 0 where it is lost."""
    wires = network.wires.changed(rates)
    out = np.array([link for link, rate in rates.items() if not rate], np.int64)
    ptr, links = network.inner
    ranks = set(network.topology.ranks)
    ends = [network.topology.links[link] for link in out.tolist()]
    keep = np.ones(len(ptr) - 1, bool)
    dead = np.isin(links, out)
    keep[np.repeat(np.arange(len(keep)), np.diff(ptr))[dead]] = False
    counts = np.add.reduceat(keep.astype(np.int64), network.paths.begin[:-1])
    used = np.bincount(network.paths.pair[left.flow], minlength=len(counts)) > 0
    if any(link.src in ranks or link.dst in ranks for link in ends) or (used & (counts == 0)).any():
        return _found_anew(network, left, rates)
    number = np.where(keep, np.cumsum(keep) - 1, -1)
    begin = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    now = network.chosen(network.flows, network.paths.pair, begin, np.flatnonzero(keep), wires)
    return now, number[left.path]


def _found_anew(network: Network, left: Subflows, rates: Mapping[int, Fraction]) -> tuple[Network, I64]:
    """As `_without`, where paths that did not exist before may be needed: all of them are found again."""
    out = {link for link, rate in rates.items() if not rate}
    kept = tuple(link for number, link in enumerate(network.topology.links) if number not in out)
    table = find_paths(replace(network.topology, links=kept), network.flows)
    now = Network(network.wires.changed(rates), network.flows, table)
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    for pair in np.unique(table.pair[left.flow]).tolist():
        for path in range(int(table.begin[pair]), int(table.begin[pair + 1])):
            known[pair, table.interior(path)] = path
    pairs = table.pair[left.flow].tolist()
    old = [
        known.get((pair, network.paths.interior(path)), -1)
        for pair, path in zip(pairs, left.path.tolist(), strict=True)
    ]
    return now, np.array(old, np.int64)


def _without_these(network: Network, left: Subflows, lost: np.ndarray) -> I64:
    """[links] bytes of the subflows that are not lost."""
    return network.loads(left) - network.loads(left.take(np.flatnonzero(lost)))


def _move(network: Network, left: Subflows, lost: np.ndarray, background: I64) -> Subflows:
    """`left` with the lost subflows whole on the emptiest paths, beside `background` (bytes on each link)."""
    moving = np.flatnonzero(lost)
    if not len(moving):
        return left
    pairs, pair = np.unique(network.paths.pair[left.flow[moving]], return_inverse=True)
    few, kept = narrow(network, left.flow[moving], pairs, pair.astype(np.int32))
    flows = Flows(few.flows.src, few.flows.dst, left.bytes[moving])
    chosen = assign(few, flows, few.paths.pair, background.astype(np.float64))
    path = left.path.copy()
    path[moving] = kept[chosen]
    return Subflows(left.flow, left.offset, left.bytes, path)


def _spread(
    network: Network,
    left: Subflows,
    base: Subflows,
    lost: np.ndarray,
    rates: Mapping[int, Fraction],
    limit: Fraction,
    target: Fraction,
) -> Subflows:
    """`base`, or better: subflows cut and spread by the linear program, of ever more links until it is proven that
    nothing is better."""
    if within(network, base, limit):
        return base
    best, tried = base, False
    for free in _ever_more(network, left, lost, rates, target):
        if within(network, best, limit) or ((tried or within(network, best, target)) and _optimal(network, best)):
            return best
        settled = settle(network, left, lost, free)
        if settled is not None:
            best, tried = _better(network, best, settled.subflows), True
            if free.all():
                return best
    mended = mend(network, base, target, free=lost | _on_changed(network, base, rates, target), rounds=3)
    return best if mended is None else _better(network, best, mended)


def _ever_more(
    network: Network, left: Subflows, lost: np.ndarray, rates: Mapping[int, Fraction], target: Fraction
) -> Iterator[np.ndarray]:
    """Masks of subflows: on changed links, between switches next to them, all."""
    yield lost | _on_changed(network, left, rates, target)
    near = np.zeros(len(network.paths.begin) - 1, bool)
    near[_pairs_near(network, np.array(sorted(rates), np.int64))] = True
    yield near[network.paths.pair[left.flow]]
    yield np.ones(len(left), bool)


def _shift(
    network: Network, base: Subflows, lost: np.ndarray, rates: Mapping[int, Fraction], target: Fraction
) -> Subflows:
    """`base`, or better: lost subflows and those on slow links dealt out anew, whole."""
    if within(network, base, target):
        return base
    movable = lost | _on_changed(network, base, rates, target)
    movable &= base.bytes > 0
    return _better(network, base, _move(network, base, movable, _without_these(network, base, movable)))


def _better(network: Network, one: Subflows, other: Subflows) -> Subflows:
    """The one of less congestion; the first where they are alike but for bytes of pieces."""
    congestion = network.congestion(network.loads(other))
    return one if within(network, one, congestion) else other


def _optimal(network: Network, found: Subflows) -> bool:
    """Whether the links around the fullest one prove that no routing is better."""
    fullest = np.argmax(network.loads(found) / network.rate)
    return within(network, found, _cut_near(network, np.array([fullest])))


def _limits(network: Network, staying: I64, rates: Mapping[int, Fraction]) -> tuple[Fraction, Fraction]:
    """What the fullest link takes where nothing has changed, and what is proven around the changed links (seconds)."""
    touched = np.array(sorted(rates), np.int64)
    unchanged = staying.copy()
    unchanged[touched] = 0
    return network.congestion(unchanged), _cut_near(network, touched)


def _cut_near(network: Network, links: I64) -> Fraction:
    """What the flows that begin or end next to these links, or may cross them, prove (seconds)."""
    near = np.zeros(len(network.paths.begin) - 1, bool)
    near[_pairs_near(network, links)] = True
    flows = np.flatnonzero(near[network.paths.pair])
    if not len(flows):
        return Fraction(0)
    pairs, pair = np.unique(network.paths.pair[flows], return_inverse=True)
    return best_cut(narrow(network, flows, pairs, pair.astype(np.int32))[0]).seconds


def _pairs_near(network: Network, touched: I64) -> I64:
    """Pairs that begin or end next to a changed link, or whose paths cross one."""
    begin = network.paths.begin
    switches = {
        end for link in touched.tolist() for end in (network.topology.links[link].src, network.topology.links[link].dst)
    }
    several = begin[:-1] < begin[1:]
    firsts = np.minimum(begin[:-1], len(network.first) - 1)
    near = np.isin(network.first[firsts], list(switches)) | np.isin(network.last[firsts], list(switches))
    ptr, links = network.inner
    owner = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
    crossing = np.repeat(owner, np.diff(ptr))[np.isin(links, touched)]
    near[crossing] = True
    return np.flatnonzero(near & several)


def _on_changed(network: Network, left: Subflows, rates: Mapping[int, Fraction], target: Fraction) -> np.ndarray:
    """Subflows on changed links that are overfull."""
    slow = np.intersect1d(overfull(network, left, target), np.array(sorted(rates), np.int64))
    return network.crossing(left, slow)


def _surplus(
    network: Network, left: Subflows, lost: np.ndarray, rates: Mapping[int, Fraction], target: Fraction
) -> np.ndarray:
    """The largest subflows on each slow link, as many as it has too many for `target` seconds."""
    found = lost.copy()
    for number in (number for number, rate in rates.items() if rate):
        here = np.flatnonzero(network.crossing(left, np.array([number])) & ~found)
        over = int(left.bytes[here].sum()) - int(target * int(network.capacity[number]) * GIGA / network.unit)
        if over > 0:
            order = here[np.argsort(-left.bytes[here], kind="stable")]
            found[order[: int(np.searchsorted(np.cumsum(left.bytes[order]), over)) + 1]] = True
    surplus: NDArray[np.bool_] = found & ~lost
    return surplus
