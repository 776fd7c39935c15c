"""All-to-all: how much every pair of ranks can exchange at once, and what proves that it is not more.

The *maximum concurrent flow*: every rank of the group sends one unit to every other, each along any paths, and the
links share their load; what counts is the fullest link. Flows of one source are one commodity, as they only differ in
where they end. Docs/algorithms.md, lemmas 12 and 13.

Whatever finds them, flows are rounded to whole units on explicit paths (`paths.py`), and prices to whole numbers; the
loads of the one and the shortest paths of the other are then compared exactly. Two ways find them:

- *spreading*: price links by how full they were so far, send every unit along its cheapest paths, split evenly where
  several are, and average (`spread.py`);
- the linear program, where it is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective
from collsched.forest.concurrent_program import solve
from collsched.forest.fabric import Fabric
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum, optimum
from collsched.forest.paths import Paths, decompose, path_forest
from collsched.forest.problem import problem
from collsched.forest.spread import spread
from collsched.topology.model import Topology

MOST_VARIABLES = 30_000  # of the linear program: links · ranks
_GRAINS = (1, 2, 3, 4, 6, 12, 60, 2520, 1 << 24)  # the largest price, as a whole number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Paths for all pairs and the bound beside them: `optimum.reached` is what the paths take, `optimum.ratio` what
    nothing beats, per unit of a pair, in 1/(GB/s)."""

    forest: Forest
    optimum: Optimum


def exchange(topology: Topology, collective: Collective) -> Exchange:
    """The best paths found for an all-to-all, and the best proven bound. The pairs must reach each other."""
    fabric = Fabric.of(topology, collective)
    if len(fabric.sources) < 2:
        nothing = path_forest(fabric, Paths.none())
        return Exchange(nothing, Optimum(Fraction(0), None, 1, Fraction(0), True))
    best = _Best(fabric)
    best.consider([], _cuts(fabric, topology, collective))
    best.consider(*spread(fabric))
    if not best.closed and len(fabric.src) * len(fabric.sources) <= MOST_VARIABLES:
        solution = solve(fabric)
        if solution is not None:
            best.consider([solution[0]], [solution[1]])
    paths, reached, prices = best.paths, best.reached, tuple(best.prices.tolist())
    proven = Optimum(best.bound, None, paths.k, reached * paths.k, reached == best.bound, prices=prices)
    return Exchange(path_forest(fabric, paths), proven)


def _cuts(fabric: Fabric, topology: Topology, collective: Collective) -> list[Floats]:
    """Prices of 1 on the links of promising cuts: into the rank that receives least, out of the one that sends least,
    and the cut that bounds an allgather."""
    into, out = np.zeros(fabric.nodes), np.zeros(fabric.nodes)
    np.add.at(into, fabric.dst, fabric.capacity)
    np.add.at(out, fabric.src, fabric.capacity)
    side = np.zeros(fabric.nodes, bool)
    found = optimum(problem(topology, collective, reverse=False)).cut
    side[list(found.side) if found else []] = True
    return [
        (fabric.dst == fabric.sources[into[fabric.sources].argmin()]).astype(np.float64),
        (fabric.src == fabric.sources[out[fabric.sources].argmin()]).astype(np.float64),
        (side[fabric.src] & ~side[fabric.dst]).astype(np.float64),
    ]


class _Best:
    """The best paths and the best prices so far."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.paths, self.reached = Paths.none(), Fraction(1 << 62)
        self.prices, self.bound = np.zeros(len(fabric.src), np.int64), Fraction(0)

    @property
    def closed(self) -> bool:
        return self.reached == self.bound

    def consider(self, flows: list[Floats], prices: list[Floats]) -> None:
        """[links, sources] flows of one unit a pair, and [links] prices."""
        for price in prices:
            for grain in _GRAINS:
                self._bound(np.rint(price / price.max() * grain).astype(np.int64))
        for flow in flows:
            if self.closed:
                return
            load = flow.sum(axis=1) / self.fabric.capacity
            self._bound((load > load.max() * (1 - 1e-9)).astype(np.int64))
            if load.max() < float(self.reached / self.fabric.scale) * (1 - 1e-12):
                self._reach(decompose(self.fabric, flow))

    def _bound(self, prices: Ints) -> None:
        """Lemma 12: what all pairs pay at the least, against what all links can earn."""
        earned = int(prices.astype(object) @ self.fabric.capacity)
        if not earned:
            return
        paid = int(self.fabric.distances(prices)[self.fabric.sources].sum())
        found = Fraction(paid * self.fabric.scale, earned)
        if found > self.bound:
            self.bound, self.prices = found, prices

    def _reach(self, paths: Paths) -> None:
        load = paths.load(len(self.fabric.src))
        found = max(
            Fraction(amount * self.fabric.scale, paths.k * capacity)
            for amount, capacity in zip(load.tolist(), self.fabric.capacity.tolist(), strict=True)
        )
        if found < self.reached:
            self.reached, self.paths = found, paths
