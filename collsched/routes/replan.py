"""New paths after a link has failed or slowed down, for the bytes that are left; nearly all subflows stay as they are.

Subflows on links that are out must move; those on slow links move as far as that helps. Everything else is background.
Only if the target is missed do subflows on the links that are too full then move as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from collsched.routes.bounds import best_cut
from collsched.routes.chains import along_chains
from collsched.routes.exact import mend, overfull, tidy, within
from collsched.routes.model import I64, Flows, PathTable, Subflows
from collsched.routes.network import Network
from collsched.routes.paths import find_paths
from collsched.routes.whole import assign, narrow


@dataclass(frozen=True)
class Replan:
    """Subflows for what is left, over a network without the failed links."""

    network: Network
    subflows: Subflows
    extents: Subflows  # what is left: parts of flows, on their old paths where these exist
    moved: int  # subflows of before that are not carried as before
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
    now, old = _without(replace(network, flows=flows), left, rates)
    lost = old < 0
    left = Subflows(left.flow, left.offset, left.bytes, np.where(lost, now.paths.begin[now.paths.pair[left.flow]], old))
    base = _move(now, left, lost)
    target = _target(now, left, lost, rates)
    found = base
    if not within(now, base, target) and (chained := along_chains(now, left, lost, target)) is not None:
        found = base = chained
    if split and not within(now, base, target):
        free = lost | _on_changed(now, left, rates, target)
        mended = mend(now, base, target, free=free, rounds=3)
        if mended is not None and now.congestion(now.loads(mended)) < now.congestion(now.loads(base)):
            found = mended
    elif not split and not within(now, base, target):
        found = _shift(now, base, lost | _on_changed(now, base, rates, target))
    found = tidy(found)
    return Replan(now, found, left, _changed(left, lost, found), now.congestion(now.loads(found)))


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
    hops = np.diff(network.paths.node_ptr)
    node_ptr = np.concatenate([[0], np.cumsum(hops[keep])]).astype(np.int64)
    table = PathTable(
        network.paths.pair,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        node_ptr,
        network.paths.nodes[np.repeat(keep, hops)],
        network.paths.chance[keep],
    )
    now = Network(wires, network.flows, table)
    inner = np.diff(ptr)
    kept_ptr = np.concatenate([[0], np.cumsum(inner[keep])]).astype(np.int64)
    now.__dict__["inner"] = (kept_ptr, links[np.repeat(keep, inner)])  # known already, so not looked up again
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


def _move(network: Network, left: Subflows, lost: np.ndarray) -> Subflows:
    """`left` with the lost subflows whole on the emptiest paths."""
    moving = np.flatnonzero(lost)
    if not len(moving):
        return left
    background = network.loads(left.take(np.flatnonzero(~lost)))
    pairs, pair = np.unique(network.paths.pair[left.flow[moving]], return_inverse=True)
    few, kept = narrow(network, left.flow[moving], pairs, pair.astype(np.int32))
    flows = Flows(few.flows.src, few.flows.dst, left.bytes[moving])
    chosen = assign(few, flows, few.paths.pair, background.astype(np.float64))
    path = left.path.copy()
    path[moving] = kept[chosen]
    return Subflows(left.flow, left.offset, left.bytes, path)


def _shift(network: Network, base: Subflows, movable: np.ndarray) -> Subflows:
    """`base` with the movable subflows dealt out anew, whole, if that is better."""
    other = _move(network, base, movable & (base.bytes > 0))
    before, after = (network.congestion(network.loads(one)) for one in (base, other))
    return other if after < before else base


def _target(network: Network, left: Subflows, lost: np.ndarray, rates: Mapping[int, Fraction]) -> Fraction:
    """What the fullest link needs at least: around the changed links, and where nothing has changed."""
    touched = np.array(sorted(rates), np.int64)
    staying = network.loads(left.take(np.flatnonzero(~lost)))
    staying[touched] = 0
    flows = np.flatnonzero(np.isin(network.paths.pair, _pairs_near(network, touched)))
    if not len(flows):
        return network.congestion(staying)
    pairs, pair = np.unique(network.paths.pair[flows], return_inverse=True)
    near, _ = narrow(network, flows, pairs, pair.astype(np.int32))
    return max(network.congestion(staying), best_cut(near).seconds)


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
    entry, link = network.crossings(left.flow, left.path)
    found = np.zeros(len(left), bool)
    found[entry[np.isin(link, slow)]] = True
    return found


def _changed(left: Subflows, lost: np.ndarray, found: Subflows) -> int:
    """Subflows that are not among the new ones as they were."""
    flows = 1 + max(int(left.flow.max(initial=-1)), int(found.flow.max(initial=-1)))
    single = (np.bincount(left.flow, minlength=flows) == 1) & (np.bincount(found.flow, minlength=flows) == 1)
    path = np.zeros(flows, np.int64)
    path[found.flow] = found.path
    alone = single[left.flow]
    moved = int((alone & (lost | (path[left.flow] != left.path))).sum())
    pieces, others = np.flatnonzero(~alone), np.flatnonzero(~single[found.flow])
    return moved + _changed_pieces(left.take(pieces), lost[pieces], found.take(others))


def _changed_pieces(left: Subflows, lost: np.ndarray, found: Subflows) -> int:
    """The same, one by one, for flows of several pieces."""
    now = set(zip(found.flow.tolist(), found.offset.tolist(), found.bytes.tolist(), found.path.tolist(), strict=True))
    before = zip(left.flow.tolist(), left.offset.tolist(), left.bytes.tolist(), left.path.tolist(), strict=True)
    return sum(missing or entry not in now for missing, entry in zip(lost.tolist(), before, strict=True))
