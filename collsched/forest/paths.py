"""Flows taken apart into paths, in whole units, and paths as a forest.

A tree of an all-to-all is one path from a source to a destination: a chain of routes that meet at ranks, which store
and forward. The shard of a tree is that of its two ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain
from math import lcm

import numpy as np
from numpy.typing import NDArray

from collsched.forest.fabric import Fabric
from collsched.forest.model import Forest, Routes

_CLOSE = 1e-9  # of a unit: what is less is rounding
_DENOMINATOR = 5040
_MOST_UNITS = 1 << 28
_UNITS = 1 << 16  # where fractions have no small common denominator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Paths:
    """Path i crosses `links[i]` from its source to its destination and carries units[i] of the pair's k units."""

    k: int
    links: list[tuple[int, ...]]
    units: list[int]

    @staticmethod
    def none() -> Paths:
        return Paths(1, [], [])

    def load(self, links: int) -> Ints:
        """[links] The units over each link."""
        load = np.zeros(links, np.int64)
        sizes = [len(path) for path in self.links]
        np.add.at(load, np.fromiter(chain(*self.links), np.int64), np.repeat(np.array(self.units, np.int64), sizes))
        return load


def decompose(fabric: Fabric, flow: Floats) -> Paths:
    """Paths that carry the [links, sources] flow of one unit a pair, as nearly as whole units can.

    Each source's flow takes at most links + ranks paths: every path empties a link or serves a rank.
    """
    pairs = [found for column, source in enumerate(fabric.sources.tolist())
             for found in _source_paths(fabric, source, flow[:, column])]  # fmt: skip
    shares = np.array([share for _, paths in pairs for _, share in paths])
    sizes = [len(paths) for _, paths in pairs]
    k = _common_units(shares)
    units = _whole(shares / np.repeat(np.add.reduceat(shares, [0, *accumulate(sizes[:-1])]), sizes) * k, sizes, k)
    kept = [(path, count) for (path, _), count in zip(chain(*(p for _, p in pairs)), units, strict=True) if count]
    return Paths(k, [path for path, _ in kept], [count for _, count in kept])


def _source_paths(fabric: Fabric, source: int, flow: Floats) -> list[tuple[int, list[tuple[tuple[int, ...], float]]]]:
    """For every destination, the paths from the source and their shares."""
    entering: dict[int, dict[int, float]] = {}
    used = np.flatnonzero(flow > _CLOSE)
    for link, amount in zip(used.tolist(), flow[used].tolist(), strict=True):
        entering.setdefault(int(fabric.dst[link]), {})[link] = amount
    tails = fabric.src.tolist()
    result = []
    for target in fabric.sources.tolist():
        if target == source:
            continue
        paths: dict[tuple[int, ...], float] = {}
        left = 1.0
        while left > _CLOSE:
            path = _walk(entering, tails, source, target)
            if path is None:
                break
            amount = min(left, *(entering[head][link] for head, link in path))
            _take(entering, path, amount)
            links = tuple(link for _, link in path)
            paths[links] = paths.get(links, 0.0) + amount
            left -= amount
        # What rounding has torn from a tiny flow is left out; no pair may be left out altogether.
        result.append((target, list(paths.items()) or [(_shortest(fabric, source, target), 1.0)]))
    return result


def _walk(
    entering: dict[int, dict[int, float]], tails: list[int], source: int, target: int
) -> list[tuple[int, int]] | None:
    """A path of (head, link) pairs from the source, found backwards along the fullest links; None if there is none.
    Cycles that are met on the way are taken out of the flow."""
    path: list[tuple[int, int]] = []
    at, place = target, {target: 0}
    while at != source:
        choices = entering.get(at)
        if not choices:
            return None
        link = max(choices, key=choices.__getitem__)
        path.append((at, link))
        at = tails[link]
        if at in place:
            cycle = path[place[at] :]
            _take(entering, cycle, min(entering[head][link] for head, link in cycle))
            for head, _ in cycle[1:]:
                del place[head]
            del path[place[at] :]
        else:
            place[at] = len(path)
    return path[::-1]


def _shortest(fabric: Fabric, source: int, target: int) -> tuple[int, ...]:
    """A path of fewest links."""
    before: dict[int, int] = {source: -1}
    queue = [source]
    for node in queue:
        for link in np.flatnonzero(fabric.src == node).tolist():
            head = int(fabric.dst[link])
            if head not in before:
                before[head] = link
                queue.append(head)
    path, node = [], target
    while node != source:
        path.append(before[node])
        node = int(fabric.src[before[node]])
    return tuple(reversed(path))


def _take(entering: dict[int, dict[int, float]], path: list[tuple[int, int]], amount: float) -> None:
    for head, link in path:
        entering[head][link] -= amount
        if entering[head][link] <= _CLOSE:
            del entering[head][link]


def _common_units(shares: Floats) -> int:
    """A small number of units of which all shares are whole ones, if there is one."""
    k = 1
    for share in np.unique(np.round(shares, 7)).tolist():
        near = Fraction(share).limit_denominator(_DENOMINATOR)
        k = lcm(k, near.denominator)
        if abs(float(near) - share) > 1e-6 or k > _MOST_UNITS:
            return _UNITS
    return k


def _whole(shares: Floats, sizes: list[int], k: int) -> list[int]:
    """Shares of k per pair as whole numbers that sum to k: largest remainders first."""
    units = np.floor(shares + _CLOSE * k).astype(np.int64)
    first = 0
    for size in sizes:
        mine = units[first : first + size]
        lacking = k - int(mine.sum())
        order = np.argsort(mine - shares[first : first + size], kind="stable")
        mine[order[:lacking] if lacking > 0 else order[len(order) + lacking :]] += np.sign(lacking)
        first += size
    return [int(count) for count in units]


def path_forest(fabric: Fabric, paths: Paths) -> Forest:
    """One tree a path, cut into routes at the ranks that relay."""
    routes: dict[tuple[int, ...], int] = {}
    edges, sizes, roots = [], [], []
    rank, src, dst = fabric.rank.tolist(), fabric.src.tolist(), fabric.dst.tolist()
    for path in paths.links:
        begin, count = 0, 0
        for end, link in enumerate(path, 1):
            if rank[dst[link]]:
                edges.append(routes.setdefault(path[begin:end], len(routes)))
                begin, count = end, count + 1
        sizes.append(count)
        roots.append(src[path[0]])
    return Forest(
        "out",
        paths.k,
        np.array(roots, np.int32),
        np.array(paths.units, np.int64),
        np.cumsum([0, *sizes]).astype(np.int64),
        np.array(edges, np.uint32),
        Routes(np.cumsum([0, *map(len, routes)]).astype(np.int64), np.fromiter(chain(*routes), np.int32)),
    )
