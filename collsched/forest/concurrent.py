"""All-to-all: how much every pair of ranks can exchange at once, and what proves that it is not more.

The *maximum concurrent flow*: every rank of the group sends every other its demand, along any paths, and the
links share their load; what counts is the fullest link. Flows of one source are one commodity, as they only differ in
where they end. Docs/algorithms.md, lemmas 12 and 13.

Whatever finds them, flows are rounded to whole units on explicit paths (`paths.py`), and prices to whole numbers; the
loads of the one and the cheapest paths of the other are then compared exactly. Three ways find them, until they meet:

- *spreading*: price links by how full they were so far, send everything along its cheapest paths, split evenly where
  several are, and average (`spread.py`): exact on fabrics with symmetry;
- the linear program, where it is small: exact;
- *balancing*: one source after the other, shift flow from fuller links to emptier ones (csrc/core/exchange_balance.cc):
  to within a small gap on any fabric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from collsched import _core
from collsched.collective import Collective, Kind
from collsched.forest.concurrent_program import solve
from collsched.forest.fabric import Fabric, Floats, Ints
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum
from collsched.forest.paths import Paths, decompose, no_paths
from collsched.forest.problem import arrays, problem
from collsched.forest.spread import spread
from collsched.topology.model import Topology

MOST_VARIABLES = 30_000  # of the linear program: links · sources
_GRAINS = (1, 2, 3, 4, 6, 12, 60, 2520, 1 << 24)  # the largest price, as a whole number
_ROUNDS = (8, 60)  # of balancing, at least and at most
_WORK = 3e8  # rounds · links · sources
_CLOSE = 1e-4  # a gap at which balancing stops


@dataclass(frozen=True, slots=True)
class Exchange:
    """Paths for all pairs and the bound beside them: `optimum.reached` is what the paths take, `optimum.ratio` what
    nothing beats, per unit of demand, in 1/(GB/s)."""

    forest: Forest
    optimum: Optimum


def exchange(topology: Topology, collective: Collective) -> Exchange:
    """The best paths found for an all-to-all, and the best proven bound. The pairs must reach each other (see
    `optimum.check_reachable`)."""
    fabric = Fabric.of(topology, collective)
    if not fabric.demand.any():
        return Exchange(no_paths(), Optimum(Fraction(0), None, 1, Fraction(0), True))
    best = _Best(fabric)
    for price in _cuts(fabric, topology, collective):
        best.bound(price)
    flows, prices = spread(fabric)
    best.consider(flows, prices)
    if not best.closed and len(fabric.src) * len(fabric.sources) <= MOST_VARIABLES:
        solution = solve(fabric)
        if solution is not None:
            best.consider([solution[0]], [solution[1]])
    elif not best.closed:
        best.consider(*_balanced(fabric, flows[0]))
    assert best.paths is not None
    k, reached, proof = best.paths.forest.k, best.reached, tuple(best.prices.tolist())
    proven = Optimum(best.ratio, None, k, reached * k, reached == best.ratio, prices=proof)
    return Exchange(best.paths.forest, proven)


def _cuts(fabric: Fabric, topology: Topology, collective: Collective) -> list[Ints]:
    """Prices of 1 on the links of promising cuts: those around each of the ranks that receive or send most for the
    bandwidth that they have, and the cut that bounds an allgather."""
    into, out = np.zeros(fabric.nodes), np.zeros(fabric.nodes)
    np.add.at(into, fabric.dst, fabric.capacity)
    np.add.at(out, fabric.src, fabric.capacity)
    gathered = Collective(Kind.ALLGATHER, collective.group, collective.group, (1,) * len(collective.group))
    _, _, side = _core.optimum(*arrays(problem(topology, gathered, reverse=False)), None)
    inside = side != 0
    receiver = (fabric.demand.sum(axis=0) / np.maximum(into[fabric.sources], 1)).argmax()
    sender = (fabric.demand.sum(axis=1) / np.maximum(out[fabric.sources], 1)).argmax()
    cuts = fabric.dst == fabric.sources[receiver], fabric.src == fabric.sources[sender]
    return [cut.astype(np.int64) for cut in (*cuts, inside[fabric.src] & ~inside[fabric.dst])]


def _balanced(fabric: Fabric, start: Floats) -> tuple[list[Floats], list[Floats]]:
    rounds = int(np.clip(_WORK / (len(fabric.src) * len(fabric.sources)), *_ROUNDS))
    flow, price = fabric.native.balance(start.ravel(), rounds, _CLOSE)
    return [flow.reshape(start.shape)], [price]


class _Best:
    """The best paths and the best prices so far."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.paths: Paths | None = None
        self.reached, self.ratio = Fraction(1 << 62), Fraction(0)
        self.prices = np.zeros(len(fabric.src), np.int64)

    @property
    def closed(self) -> bool:
        return self.reached == self.ratio

    def consider(self, flows: list[Floats], prices: Sequence[Floats | Ints]) -> None:
        """Flows, and [links] prices, which are tried at several grains."""
        for flow in flows:
            if self.closed:
                return
            load = flow.sum(axis=0) / self.fabric.capacity
            self.bound((load > load.max() * (1 - 1e-9)).astype(np.int64))
            if load.max() < float(self.reached / self.fabric.scale) * (1 - 1e-12):
                self._reach(decompose(self.fabric, flow))
        for price in prices:
            for grain in _GRAINS:
                if not self.closed:
                    self.bound(np.rint(price / price.max() * grain).astype(np.int64))

    def bound(self, prices: Ints) -> None:
        found = self.fabric.bound(prices)
        if found is not None and found > self.ratio:
            self.ratio, self.prices = found, prices

    def _reach(self, paths: Paths) -> None:
        found = self.fabric.fullest(paths.load, paths.forest.k)
        if found < self.reached:
            self.reached, self.paths = found, paths
