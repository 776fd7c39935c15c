"""Algorithms on fabrics where ranks join ranks: who cannot be reached otherwise is reached through others.

A tree's edge from a to b becomes a path from rank to rank. A rank on it that is in the tree holds the data, so the path
starts at the last such rank; the others join the tree now, and need not be sent to again:

    a – b – c – d        edges a → c, a → b, b → d  become  a → b → c → d

So every rank receives a shard once, and the result is a tree again (docs/algorithms.md, lemma 15); there is no tree for
what a rank forwards without keeping it. Ranks outside the group relay too.

Paths have the fewest links; of equal ones, pairs of ranks take different ones in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from collsched.algorithms.trees import ABSENT, ROOT, Direction, Ints, Unreachable, depths
from collsched.collective import Collective
from collsched.topology.model import Topology

Ints32 = NDArray[np.int32]  # of what there is for each rank and each link

_FAR = 1 << 30  # links
_BLOCK = 1 << 17  # edges of trees that are relayed at once
_TABLE = 1 << 22  # entries of the (start, link) table taken at once


class Relays:
    """The ways between all ranks of a topology, through others. `ranks`: all rank numbers, those of the group first."""

    def __init__(self, topology: Topology, collective: Collective) -> None:
        others = np.setdiff1d(np.arange(len(topology.ranks)), collective.group)
        self.ranks: Ints = np.concatenate([np.array(collective.group), others])
        self._topology = topology

    def relayed(self, parent: Ints, direction: Direction) -> Ints:
        """[trees, ranks] The trees, given as [trees, group], on paths between ranks that have routes.

        Raises Unreachable where there is no path.
        """
        before = self._out if direction == "out" else self._in
        padding = np.full((len(parent), len(self.ranks) - parent.shape[1]), ABSENT)
        step = max(1, _BLOCK // parent.shape[1])
        parts = [
            _graft(parent[first : first + step], padding[first : first + step], before)
            for first in range(0, len(parent), step)
        ]
        return np.concatenate(parts) if parts else np.hstack([parent, padding])

    @cached_property
    def _out(self) -> Ints:
        return _before(self._topology, self.ranks, [(link.dst, link.src) for link in self._topology.links])

    @cached_property
    def _in(self) -> Ints:
        """On reversed links."""
        links = {(link.src, link.dst) for link in self._topology.links}
        if links == {(dst, src) for src, dst in links}:
            return self._out
        return _before(self._topology, self.ranks, list(links))


def _graft(parent: Ints, padding: Ints, before: Ints) -> Ints:
    """Edge by edge, those of equal depth at once."""
    tree, child = np.nonzero(parent >= 0)
    depth = depths(parent)[tree, child]
    held = np.hstack([np.where(parent == ROOT, parent, ABSENT), padding])
    for level in range(1, int(depth.max(initial=0)) + 1):
        mine = np.flatnonzero(depth == level)
        mine = mine[held[tree[mine], child[mine]] == ABSENT]
        if len(mine):
            _enter(held, tree[mine], _paths(before, parent[tree[mine], child[mine]], child[mine]))
    return held


def _enter(held: Ints, tree: Ints, path: Ints) -> None:
    """Each path enters its tree behind the last of its ranks that is there. One rank may be on several paths: the first
    to come lets it in."""
    inside = held[tree[:, None], path] != ABSENT
    last = path.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    for hop in range(1, path.shape[1]):
        new = np.flatnonzero((hop > last) & (held[tree, path[:, hop]] == ABSENT))
        held[tree[new], path[new, hop]] = path[new, hop - 1]


def _paths(before: Ints, src: Ints, dst: Ints) -> Ints:
    """[edges, hops + 1] The ranks from `src` to `dst`; shorter paths stay at `src` for a while."""
    path = [dst]
    while (path[-1] != src).any():
        path.append(before[src, path[-1]])
        if (path[-1] < 0).any():
            raise Unreachable
    return np.stack(path[::-1], axis=1)


def _before(topology: Topology, ranks: Ints, links: Sequence[tuple[int, int]]) -> Ints:
    """[ranks, ranks] The last rank on the way from one to another; the start itself where they are the same; −1 where
    there is no way. `links` are given by end and start. Linear in ranks · links, a few times."""
    dst, src = np.array(sorted(links), np.int32).reshape(-1, 2).T
    nodes = np.array(topology.ranks)[ranks]
    step = max(1, _TABLE // max(1, len(links)))
    blocks = (np.arange(first, min(first + step, len(nodes))) for first in range(0, len(nodes), step))
    parts = [_ranks_before(_above(block, nodes[block], src, dst, len(topology.nodes)), nodes) for block in blocks]
    before = np.concatenate(parts)
    np.fill_diagonal(before, np.arange(len(nodes)))
    return before


def _above(number: Ints, starts: Ints, src: Ints32, dst: Ints32, nodes: int) -> Ints32:
    """[starts, nodes] The node before each node on a shortest way from each start; −1 where there is none. Of the links
    by which a node may be reached, nodes and starts (by their `number`) take different ones in turn."""
    distance = _distances(starts, src, dst, nodes)
    begin = np.flatnonzero(np.diff(dst, prepend=-1))
    first, count = np.searchsorted(dst, dst), np.bincount(dst, minlength=nodes)[dst]
    offset = dst + number.astype(np.int32)[:, None]
    turn = (np.arange(len(dst)) - first - offset) % count
    turn[distance[:, src] + 1 != distance[:, dst]] = _FAR
    best = np.minimum.reduceat(turn, begin, axis=1)
    chosen = src[first[begin] + (best + offset[:, begin]) % count[begin]]
    above = np.full(distance.shape, -1, np.int32)
    above[:, dst[begin]] = np.where(best < _FAR, chosen, -1)
    return above


def _distances(starts: Ints, src: Ints32, dst: Ints32, nodes: int) -> Ints32:
    """[starts, nodes] The number of links to each node, through any others."""
    distance = np.full((len(starts), nodes), _FAR, np.int32)
    distance[np.arange(len(starts)), starts] = 0
    begin = np.flatnonzero(np.diff(dst, prepend=-1))
    while len(dst):
        reached = np.minimum.reduceat(distance[:, src] + 1, begin, axis=1)
        shorter = np.minimum(distance[:, dst[begin]], reached)
        if (shorter == distance[:, dst[begin]]).all():
            break
        distance[:, dst[begin]] = shorter
    return distance


def _ranks_before(above: Ints32, nodes: Ints) -> Ints:
    """[starts, ranks] Of nodes before nodes, the last ranks before ranks."""
    place = np.full(above.shape[1] + 1, -1)
    place[nodes] = np.arange(len(nodes))
    row = np.arange(len(above))[:, None]
    before = above[:, nodes]
    while ((before >= 0) & (place[before] < 0)).any():
        before = np.where((before >= 0) & (place[before] < 0), above[row, before], before)
    return place[before]
