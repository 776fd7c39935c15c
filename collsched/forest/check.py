"""The judge of forests: recomputes everything that a planner claims, from the topology and the collective alone.

A forest that passes carries each shard from its root to every terminal (in-trees: from every terminal to the root)
over links that exist, and its ratio is exact. Together with a cut of the same ratio it is a proof of optimality.

Time and memory are linear in tree edges and route links; the one dense table (rank × tree) is taken in blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective, Kind
from collsched.errors import VerificationError
from collsched.forest.model import Forest
from collsched.topology.model import Topology

_BLOCK = 1 << 22  # entries of the dense table taken at once
_LARGEST = 1 << 40  # largest multiplicity: sums over a hundred million edges stay exact
_ROOT, _LOOSE = -1, -2  # instead of an entering edge: the node is the root; no earlier edge enters it

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]  # of whatever is as long as all edges
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ForestReport:
    """What a forest does. `ratio` is the time per unit of shard weight in 1/(GB/s): the largest load / (k · bandwidth)
    over links, reached by link `max_load_link` (None if nothing moves). Depths are tree heights in rank-to-rank hops;
    the mean counts each tree as often as its multiplicity. `trees` counts distinct trees."""

    ratio: Fraction
    max_load_link: int | None
    depth_mean: float
    depth_max: int
    trees: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """`broken` marks what violates the rule; `witness` puts the first of it into words."""

    name: str
    broken: Callable[[_Facts], Mask]
    witness: Callable[[_Facts, int], str]
    why: str


class _Facts:
    """What the rules speak of. Each fact may rely on the rules that stand before its first use."""

    def __init__(self, topology: Topology, collective: Collective, forest: Forest, reverse: bool) -> None:
        self.topology, self.collective, self.forest, self.reverse = topology, collective, forest, reverse
        self.k = forest.k
        self.multiplicity = np.asarray(forest.multiplicity, np.int64)

    def name(self, node: int) -> str:
        return self.topology.nodes[node].name

    def tree(self, tree: int) -> str:
        return f"tree {tree} of root {self.name(int(self.forest.roots[tree]))}"

    def rank_name(self, rank: int) -> str:
        return self.name(self.topology.ranks[rank])

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
        rank_of = np.full(len(self.topology.nodes), -1, np.int32)
        rank_of[list(self.topology.ranks)] = np.arange(len(self.topology.ranks))
        return rank_of

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
        """Rank number at which each route starts."""
        return self.rank_of[self.link_src[self.forest.routes.links[self.forest.routes.ptr[:-1]]]]

    @cached_property
    def route_dst(self) -> Ints32:
        return self.rank_of[self.link_dst[self.forest.routes.links[self.forest.routes.ptr[1:] - 1]]]

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
        """Rank number at the root's side of each edge."""
        return (self.route_dst if self.reverse else self.route_src)[self.forest.edges]

    @cached_property
    def child(self) -> Ints32:
        return (self.route_src if self.reverse else self.route_dst)[self.forest.edges]

    @cached_property
    def _entering(self) -> tuple[Ints32, Mask]:
        """For each edge, the earlier edge that enters its parent (or _ROOT, _LOOSE), and whether its child is entered
        more than once or is the root."""
        ptr, ranks = self.forest.ptr, len(self.topology.ranks)
        before, twice = np.empty(len(self.forest.edges), np.int32), np.empty(len(self.forest.edges), bool)
        root = self.rank_of[self.forest.roots]
        step = max(1, _BLOCK // ranks)
        for first in range(0, len(root), step):
            last = min(first + step, len(root))
            edges = slice(ptr[first], ptr[last])
            row = (self.tree_of[edges] - first) * ranks
            number = np.arange(ptr[first], ptr[last], dtype=np.int32)
            entry = np.full((last - first) * ranks, _LOOSE, np.int32)
            entry[row + self.child[edges]] = number
            entry[np.arange(last - first) * ranks + root[first:last]] = _ROOT
            twice[edges] = entry[row + self.child[edges]] != number
            found = entry[row + self.parent[edges]]
            before[edges] = np.where(found < number, found, _LOOSE)
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
        """Rank number → does every tree have to reach it?"""
        terminal = np.zeros(len(self.topology.ranks), bool)
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
        return self.rank_name(int(np.flatnonzero(missing)[0]))

    @cached_property
    def idle(self) -> Mask:
        """Edges to a rank that is neither a terminal nor passes anything on."""
        useful = self.terminal[self.child]
        useful[self.before[self.before >= 0]] = True
        return ~useful

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
        found = _sums(self.rank_of[self.forest.roots], self.multiplicity, len(self.weight))
        alone = self.terminal & (self.terminal.sum() == 1)
        return np.where(alone & (found == 0), 0, self.k * self.weight - found)

    @cached_property
    def load(self) -> Ints:
        """Trees over each link, counted with multiplicity."""
        routes = self.forest.routes
        per_route = _sums(self.forest.edges, self.multiplicity[self.tree_of], len(routes.ptr) - 1)
        return _sums(routes.links, per_route[self.route_of], len(self.topology.links))


def _sums(index: NDArray[np.integer], weight: Ints, size: int) -> Ints:
    """Sum of weights per index, exact: bincount adds floats, so the weights are added in two halves of 26 bits and the
    rest."""
    low = np.bincount(index, weight & ((1 << 26) - 1), size)
    high = np.bincount(index, weight >> 26, size)
    return low.astype(np.int64) + (high.astype(np.int64) << 26)


def _outside(ids: NDArray[np.integer], size: int) -> Mask:
    return (ids < 0) | (ids >= size)


def _malformed(ptr: Ints, size: int) -> Mask:
    """One entry: does `ptr` fail to cut an array of `size` entries into consecutive parts?"""
    good = len(ptr) > 0 and ptr[0] == 0 and ptr[-1] == size and bool((np.diff(ptr) >= 0).all())
    return np.array([not good])


_RULES = (
    _Rule(
        "direction",
        lambda f: np.array([(f.forest.direction == "in") != f.reverse]),
        lambda f, _: f"{f.forest.direction}-trees where {'in' if f.reverse else 'out'}-trees are needed",
        "data must flow the way the collective asks for",
    ),
    _Rule(
        "tree bounds",
        lambda f: (
            _malformed(f.forest.ptr, len(f.forest.edges))
            | (len(f.forest.ptr) != len(f.forest.roots) + 1)
            | (len(f.multiplicity) != len(f.forest.roots))
        ),
        lambda f, _: "`ptr` does not cut the edges into one part per root",
        "every edge belongs to one tree",
    ),
    _Rule(
        "route bounds",
        lambda f: _malformed(f.forest.routes.ptr, len(f.forest.routes.links)),
        lambda f, _: "`routes.ptr` does not cut the links into consecutive routes",
        "every link entry belongs to one route",
    ),
    _Rule(
        "empty route",
        lambda f: np.diff(f.forest.routes.ptr) == 0,
        lambda f, i: f"route {i} has no link",
        "a route joins two ranks",
    ),
    _Rule(
        "link ids",
        lambda f: _outside(f.forest.routes.links, len(f.topology.links)),
        lambda f, i: f"link id {f.forest.routes.links[i]}, but links are 0 … {len(f.topology.links) - 1}",
        "a route uses links of the topology",
    ),
    _Rule(
        "route ids",
        lambda f: _outside(f.forest.edges, len(f.forest.routes.ptr) - 1),
        lambda f, i: f"edge {i} uses route {f.forest.edges[i]}, but routes are 0 … {len(f.forest.routes.ptr) - 2}",
        "a tree edge runs over a route of the forest",
    ),
    _Rule(
        "root ids",
        lambda f: _outside(f.forest.roots, len(f.topology.nodes)) | (f.rank_of[f.forest.roots % len(f.rank_of)] < 0),
        lambda f, i: f"tree {i} has root id {f.forest.roots[i]}, which is no rank",
        "a root owns a shard",
    ),
    _Rule(
        "multiplicity",
        lambda f: np.array([f.k < 1]) if f.k < 1 else (f.multiplicity < 1) | (f.multiplicity > _LARGEST),
        lambda f, i: f"k is {f.k}" if f.k < 1 else f"{f.tree(i)} stands for {f.multiplicity[i]} trees",
        "counts of trees are positive",
    ),
    _Rule(
        "path",
        lambda f: f.link_dst[f.forest.routes.links[f.joint]] != f.link_src[f.forest.routes.links[f.joint + 1]],
        lambda f, i: f"{f.route(int(f.route_of[f.joint[i]]))}: a link does not start where the one before it ends",
        "a route is a path of links",
    ),
    _Rule(
        "route ends",
        lambda f: (f.route_src < 0) | (f.route_dst < 0),
        lambda f, i: f"{f.route(i)} does not run from rank to rank",
        "only ranks hold data",
    ),
    _Rule(
        "route inside",
        lambda f: f.rank_of[f.link_dst[f.forest.routes.links[f.joint]]] >= 0,
        lambda f, i: f"{f.route(int(f.route_of[f.joint[i]]))} passes through a rank",
        "a rank that relays must be a node of the tree, so that it holds the data",
    ),
    _Rule(
        "simple route",
        lambda f: f.routes_that_repeat(),
        lambda f, i: f"{f.route(i)} meets a node twice",
        "a detour through itself wastes bandwidth",
    ),
    _Rule(
        "once",
        lambda f: f.twice,
        lambda f, i: f"{f.edge(i)} enters {f.rank_name(int(f.child[i]))}, which the tree holds already",
        "a rank occurs once in a tree",
    ),
    _Rule(
        "parents first",
        lambda f: f.before == _LOOSE,
        lambda f, i: f"{f.edge(i)} hangs from {f.rank_name(int(f.parent[i]))}, which no earlier edge enters",
        "a tree is connected, and listed from its root",
    ),
    _Rule(
        "spanning",
        lambda f: f.missed > 0,
        lambda f, i: f"{f.tree(i)} misses {f.missed[i]} terminals, such as {f.first_missed(i)}",
        "every terminal takes part in every tree",
    ),
    _Rule(
        "idle relay",
        lambda f: f.idle,
        lambda f, i: f"{f.edge(i)}: {f.rank_name(int(f.child[i]))} is outside the group and passes nothing on",
        "a relay that has nothing to relay wastes bandwidth",
    ),
    _Rule(
        "root weight",
        lambda f: f.missing_multiplicity != 0,
        lambda f, i: (
            f"the trees of root {f.rank_name(i)} count {f.k * f.weight[i] - f.missing_multiplicity[i]}, "
            f"its shard needs k · weight = {f.k * f.weight[i]}"
        ),
        "the trees of a root carry its shard, no more and no less",
    ),
)


def check_forest(topology: Topology, collective: Collective, forest: Forest, *, reverse: bool) -> ForestReport:
    """Check one phase of a collective (`reverse`: in-trees) and measure it exactly.

    Raises VerificationError, which names the first broken rule and a witness by node names.
    """
    facts = _Facts(topology, collective, forest, reverse)
    for rule in _RULES:
        broken = np.flatnonzero(rule.broken(facts))
        if len(broken):
            witness = rule.witness(facts, int(broken[0]))
            raise VerificationError(f"the forest breaks the rule “{rule.name}”: {witness}; {rule.why}")
    ratio, link = _ratio(facts)
    total = int(facts.multiplicity.sum())
    mean = float(facts.multiplicity @ facts.height) / total if total else 0.0
    return ForestReport(ratio, link, mean, int(facts.height.max(initial=0)), len(forest.roots))


def _ratio(facts: _Facts) -> tuple[Fraction, int | None]:
    """The largest load / (k · bandwidth) and a link that has it; among links of equal bandwidth only the largest load
    can be it."""
    fullest: dict[tuple[int, int], int] = {}
    load = facts.load.tolist()
    for i, link in enumerate(facts.topology.links):
        if load[i]:
            bandwidth = (link.bandwidth.numerator, link.bandwidth.denominator)
            if load[i] > load[fullest.setdefault(bandwidth, i)]:
                fullest[bandwidth] = i
    ratios = [(Fraction(load[i] * d, facts.k * n), -i) for (n, d), i in fullest.items()]
    if not ratios:
        return Fraction(0), None
    ratio, first = max(ratios)
    return ratio, -first
