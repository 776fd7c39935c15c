"""What the rules of a forest speak of, computed from topology, collective and forest alone."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective, Kind
from collsched.forest.model import Forest
from collsched.topology.model import Topology

_BLOCK = 1 << 22  # entries of the dense (place, tree) table taken at once
_LIMB = 21  # bits of a weight that are summed at once
ROOT, LOOSE = -1, -2  # instead of an entering edge: the node is the root; no earlier edge enters it

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]  # of whatever is as long as all edges
Mask = NDArray[np.bool_]


class Facts:
    """What the rules speak of. Each fact may rely on the rules that stand before its first use."""

    def __init__(self, topology: Topology, collective: Collective, forest: Forest, reverse: bool) -> None:
        self.topology, self.collective, self.forest, self.reverse = topology, collective, forest, reverse
        self.k = forest.k
        self.multiplicity = np.asarray(forest.multiplicity, np.int64)

    def name(self, node: int) -> str:
        return self.topology.nodes[node].name

    def tree(self, tree: int) -> str:
        return f"tree {tree} of root {self.name(int(self.forest.roots[tree]))}"

    def place_name(self, place: int) -> str:
        return self.name(self.holders[place])

    def route(self, route: int) -> str:
        """The nodes of a route, as far as its links make sense."""
        begin, end = self.forest.routes.ptr[[route, route + 1]]
        links = [self.topology.links[i] for i in self.forest.routes.links[begin:end]]
        nodes = [self.name(link.src) for link in links[:1]] + [self.name(link.dst) for link in links]
        return f"route {route} ({' → '.join(nodes)})"

    def edge(self, edge: int) -> str:
        return f"{self.tree(int(self.tree_of[edge]))}, {self.route(int(self.forest.edges[edge]))}"

    # -- routes ------------------------------------------------------------------------------------------------------

    @cached_property
    def link_src(self) -> Ints:
        return np.fromiter((link.src for link in self.topology.links), np.int64, len(self.topology.links))

    @cached_property
    def link_dst(self) -> Ints:
        return np.fromiter((link.dst for link in self.topology.links), np.int64, len(self.topology.links))

    @cached_property
    def rank_of(self) -> Ints32:
        """Node id → rank number, or −1 for a switch."""
        return self._numbers(self.topology.ranks)

    @cached_property
    def holders(self) -> tuple[int, ...]:
        """The nodes that may be in a tree, by *place*: the ranks, then the switches that can branch: multicast in an
        out-tree, reduce in an in-tree."""
        able = (i for i, node in enumerate(self.topology.nodes) if (node.reduce if self.reverse else node.multicast))
        return self.topology.ranks + tuple(able)

    @cached_property
    def place_of(self) -> Ints32:
        """Node id → place, a rank's being its number; −1 for a switch that only forwards."""
        return self._numbers(self.holders)

    def _numbers(self, nodes: tuple[int, ...]) -> Ints32:
        numbers = np.full(len(self.topology.nodes), -1, np.int32)
        numbers[list(nodes)] = np.arange(len(nodes))
        return numbers

    @cached_property
    def route_of(self) -> Ints:
        """The route that each entry of `routes.links` belongs to."""
        return np.repeat(np.arange(len(self.forest.routes.ptr) - 1), np.diff(self.forest.routes.ptr))

    @cached_property
    def joint(self) -> Ints:
        """Entries of `routes.links` that another link of the same route follows."""
        inside = np.ones(len(self.forest.routes.links), bool)
        inside[self.forest.routes.ptr[1:] - 1] = False
        return np.flatnonzero(inside)

    @cached_property
    def route_src(self) -> Ints32:
        """Place at which each route starts."""
        return self.place_of[self.link_src[self.forest.routes.links[self.forest.routes.ptr[:-1]]]]

    @cached_property
    def route_dst(self) -> Ints32:
        return self.place_of[self.link_dst[self.forest.routes.links[self.forest.routes.ptr[1:] - 1]]]

    def routes_that_repeat(self) -> Mask:
        """Routes with some node twice: entries that lie d apart are compared, for every d that fits into the route."""
        routes = self.forest.routes
        repeats = np.zeros(len(routes.ptr) - 1, bool)
        repeats |= np.diff(routes.ptr) >= len(self.topology.nodes)
        entry = np.flatnonzero(~repeats[self.route_of])
        end = routes.ptr[1:][self.route_of]
        tail, head = self.link_src[routes.links], self.link_dst[routes.links]
        apart = 0
        while len(entry := entry[entry + apart < end[entry]]):
            repeats[self.route_of[entry[tail[entry] == head[entry + apart]]]] = True
            apart += 1
        return repeats

    # -- trees -------------------------------------------------------------------------------------------------------

    @cached_property
    def tree_of(self) -> Ints32:
        return np.repeat(np.arange(len(self.forest.roots), dtype=np.int32), np.diff(self.forest.ptr))

    @cached_property
    def parent(self) -> Ints32:
        """Place at the root's side of each edge."""
        return (self.route_dst if self.reverse else self.route_src)[self.forest.edges]

    @cached_property
    def child(self) -> Ints32:
        return (self.route_src if self.reverse else self.route_dst)[self.forest.edges]

    @cached_property
    def _entering(self) -> tuple[Ints32, Mask]:
        """For each edge, the earlier edge that enters its parent (or ROOT, LOOSE), and whether its child is entered
        more than once or is the root."""
        ptr, places = self.forest.ptr, len(self.holders)
        before, twice = np.empty(len(self.forest.edges), np.int32), np.empty(len(self.forest.edges), bool)
        root = self.rank_of[self.forest.roots]
        step = max(1, _BLOCK // places)
        for first in range(0, len(root), step):
            last = min(first + step, len(root))
            edges = slice(ptr[first], ptr[last])
            row = (self.tree_of[edges] - first) * places
            number = np.arange(ptr[first], ptr[last], dtype=np.int32)
            entry = np.full((last - first) * places, LOOSE, np.int32)
            entry[row + self.child[edges]] = number
            entry[np.arange(last - first) * places + root[first:last]] = ROOT
            twice[edges] = entry[row + self.child[edges]] != number
            found = entry[row + self.parent[edges]]
            before[edges] = np.where(found < number, found, LOOSE)
        return before, twice

    @property
    def before(self) -> Ints32:
        return self._entering[0]

    @property
    def twice(self) -> Mask:
        return self._entering[1]

    @cached_property
    def depth(self) -> Ints32:
        """Hops from the root to each edge's child, by pointer doubling."""
        depth, above = np.ones(len(self.before), np.int32), self.before.copy()
        while len(moving := np.flatnonzero(above >= 0)):
            over = above[moving]
            depth[moving] += depth[over]
            above[moving] = above[over]
        return depth

    @cached_property
    def height(self) -> Ints:
        height = np.zeros(len(self.forest.roots), np.int64)
        full = np.flatnonzero(np.diff(self.forest.ptr))
        if len(full):
            height[full] = np.maximum.reduceat(self.depth, self.forest.ptr[full])
        return height

    @cached_property
    def terminal(self) -> Mask:
        """Place → does every tree have to reach it?"""
        terminal = np.zeros(len(self.holders), bool)
        root = self.collective.root
        gathers = self.collective.kind in (Kind.GATHER, Kind.SCATTER) and root is not None
        terminal[root if gathers else list(self.collective.group)] = True
        return terminal

    @cached_property
    def missed(self) -> Ints:
        """Terminals that each tree does not reach, the root being reached from the start."""
        reached = np.bincount(self.tree_of[self.terminal[self.child]], minlength=len(self.forest.roots))
        reached += self.terminal[self.rank_of[self.forest.roots]]
        return int(self.terminal.sum()) - reached

    def first_missed(self, tree: int) -> str:
        edges = slice(*self.forest.ptr[[tree, tree + 1]])
        missing = self.terminal.copy()
        missing[self.child[edges]] = False
        missing[self.rank_of[self.forest.roots[tree]]] = False
        return self.place_name(int(np.flatnonzero(missing)[0]))

    @cached_property
    def idle(self) -> Mask:
        """Edges to a node that is neither a terminal nor passes anything on."""
        useful = self.terminal[self.child]
        useful[self.before[self.before >= 0]] = True
        return ~useful

    @property
    def forks(self) -> Mask:
        """Edges that make a path a tree, where only paths are allowed."""
        return np.zeros(len(self.forest.edges), bool)

    # -- weights -----------------------------------------------------------------------------------------------------

    @cached_property
    def weight(self) -> Ints:
        """Rank number → weight of the shard it owns."""
        weight = np.zeros(len(self.topology.ranks), np.int64)
        np.add.at(weight, list(self.collective.owners), list(self.collective.shards))
        return weight

    @cached_property
    def missing_multiplicity(self) -> Ints:
        """Rank number → k · weight − the multiplicities of its trees. A rank that is the only terminal of its own shard
        needs no tree."""
        found = sums(self.rank_of[self.forest.roots], self.multiplicity, len(self.weight))
        alone = self.terminal[: len(self.weight)] & (self.terminal.sum() == 1)
        return np.where(alone & (found == 0), 0, self.k * self.weight - found)

    def wrong_multiplicity(self, rank: int) -> str:
        needed = self.k * self.weight[rank]
        return (
            f"the trees of root {self.place_name(rank)} count {needed - self.missing_multiplicity[rank]}, "
            f"its shard needs k · weight = {needed}"
        )

    @cached_property
    def load(self) -> Ints:
        """Trees over each link, counted with multiplicity."""
        routes = self.forest.routes
        per_route = sums(self.forest.edges, self.multiplicity[self.tree_of], len(routes.ptr) - 1)
        return sums(routes.links, per_route[self.route_of], len(self.topology.links))


def sums(index: NDArray[np.integer], weight: Ints, size: int) -> Ints:
    """Sum of non-negative weights per index. bincount adds floats, so weights are summed in limbs, each sum exact."""
    total, shift = np.zeros(size, np.int64), 0
    while weight.any():
        total += np.bincount(index, weight & ((1 << _LIMB) - 1), size).astype(np.int64) << shift
        weight, shift = weight >> _LIMB, shift + _LIMB
    return total
