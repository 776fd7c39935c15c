"""The judge of forests: recomputes everything that a planner claims, from the topology and the collective alone.

A forest that passes carries each shard from its root to every terminal (in-trees: from every terminal to the root;
all-to-all: from its source to its target)
over links that exist, and its ratio is exact. Together with a cut of the same ratio it is a proof of optimality.

Time and memory are linear in tree edges and route links; the one dense table (rank × tree) is taken in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from collsched.collective import Collective, Kind
from collsched.errors import VerificationError
from collsched.forest.check_facts import Facts
from collsched.forest.check_paths import PathFacts
from collsched.forest.check_rules import RULES
from collsched.forest.model import Forest
from collsched.topology.model import Topology

__all__ = ["ForestReport", "check_forest"]


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


def check_forest(topology: Topology, collective: Collective, forest: Forest, *, reverse: bool) -> ForestReport:
    """Check one phase of a collective (`reverse`: in-trees) and measure it exactly.

    Raises VerificationError, which names the first broken rule and a witness by node names.
    """
    kind = PathFacts if collective.kind is Kind.ALL_TO_ALL else Facts
    facts = kind(topology, collective, forest, reverse)
    for rule in RULES:
        broken = np.flatnonzero(rule.broken(facts))
        if len(broken):
            witness = rule.witness(facts, int(broken[0]))
            raise VerificationError(f"the forest breaks the rule “{rule.name}”: {witness}; {rule.why}")
    ratio, link = _ratio(facts)
    total = int(facts.multiplicity.sum())
    mean = float(facts.multiplicity @ facts.height) / total if total else 0.0
    return ForestReport(ratio, link, mean, int(facts.height.max(initial=0)), len(forest.roots))


def _ratio(facts: Facts) -> tuple[Fraction, int | None]:
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
