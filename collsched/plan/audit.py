"""Verification of a whole plan: every claim recomputed from topology and collective, none believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from collsched.collective import Collective, Kind
from collsched.errors import VerificationError
from collsched.forest.bounds import allreduce_bound
from collsched.forest.check import ForestReport, check_forest
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum
from collsched.forest.problem import directions
from collsched.ir.schedule import Schedule
from collsched.ir.verify import Report, verify
from collsched.plan.prices import check_prices
from collsched.topology.model import Topology


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What verification found. `ratio` is what the forests' loads give, `bound` what cuts or prices prove, in 1/(GB/s)
    per unit of shard weight: sums over the phases; where the phases share the links, what all loads together give, and
    the bound of the whole allreduce. `seconds` maps each stage to its time."""

    forests: tuple[ForestReport, ...]
    schedule: Report
    ratio: Fraction
    bound: Fraction
    seconds: Mapping[str, float]

    @property
    def optimal(self) -> bool:
        """Whether every phase meets its cut."""
        return self.ratio == self.bound


def audit(
    topology: Topology,
    collective: Collective,
    forests: Sequence[Forest],
    bound: Sequence[Optimum],
    schedule: Callable[[], Schedule],
    *,
    together: bool = False,
    expected: Topology | None = None,
) -> PlanReport:
    """Check the topology against `expected`, the forests, the cuts, and the schedule lowered from the forests, whose
    phases follow one another or run `together`.

    Raises VerificationError.
    """
    start = time.perf_counter()
    if expected is not None:
        _check_topology(topology, expected)
    phases = directions(collective.kind)
    if not len(forests) == len(bound) == len(phases):
        raise VerificationError(f"a plan for {collective.kind} has {len(phases)} phases, not {len(forests)}")
    reports = tuple(
        check_forest(topology, collective, forest, reverse=reverse)
        for forest, reverse in zip(forests, phases, strict=True)
    )
    for report, optimum, reverse in zip(reports, bound, phases, strict=True):
        if collective.kind is Kind.ALL_TO_ALL:
            check_prices(topology, collective, optimum, report)
        else:
            _check_bound(topology, collective, optimum, report, reverse=reverse)
    checked = time.perf_counter()
    lowered = schedule()
    ready = time.perf_counter()
    ratio = sum((report.ratio for report in reports), Fraction(0))
    result = verify(topology, lowered, claimed=ratio)
    proven = sum((optimum.ratio for optimum in bound), Fraction(0))
    if together:
        ratio, proven = result.ratio, allreduce_bound(topology, collective).ratio
    seconds = {"check": checked - start, "lower": ready - checked, "verify": time.perf_counter() - ready}
    return PlanReport(reports, result, ratio, proven, seconds)


def _check_bound(
    topology: Topology, collective: Collective, optimum: Optimum, report: ForestReport, *, reverse: bool
) -> None:
    """The cut's members alone decide the bound: weight inside over the bandwidth that leaves (in-trees: enters)."""
    if optimum.cut is None:
        if optimum.ratio != 0:
            raise VerificationError(f"the bound {optimum.ratio} is claimed without a cut that proves it")
        return
    inside = set(optimum.cut.side)
    terminals = {collective.root} if collective.kind in (Kind.GATHER, Kind.SCATTER) else set(collective.group)
    if all(topology.ranks[rank] in inside for rank in terminals if rank is not None):
        raise VerificationError("the cut of the bound holds every rank that needs data, so it proves nothing")
    weight = sum(
        size
        for owner, size in zip(collective.owners, collective.shards, strict=True)
        if topology.ranks[owner] in inside
    )
    ends = ((link.dst, link.src, link) if reverse else (link.src, link.dst, link) for link in topology.links)
    bandwidth = sum((link.bandwidth for a, b, link in ends if a in inside and b not in inside), Fraction(0))
    if (weight, bandwidth) != (optimum.cut.weight_inside, optimum.cut.exit_bandwidth):
        raise VerificationError(
            f"the cut of the bound holds weight {weight} and {bandwidth} GB/s leave it, "
            f"not {optimum.cut.weight_inside} and {optimum.cut.exit_bandwidth}"
        )
    if bandwidth == 0 or weight / bandwidth != optimum.ratio:
        raise VerificationError(f"the cut of the bound does not prove the ratio {optimum.ratio}")
    if report.ratio < optimum.ratio:
        raise VerificationError(
            f"the forest's ratio {report.ratio} beats the bound {optimum.ratio}: one of them is wrong"
        )


def _check_topology(topology: Topology, expected: Topology) -> None:
    """Same nodes in the same order, and the same links in any order. Switches may be able to do more than is used."""
    if not any(node.multicast or node.reduce for node in topology.nodes):
        expected = expected.without_in_network()
    if topology.nodes != expected.nodes:
        differing = [(a, b) for a, b in zip(topology.nodes, expected.nodes, strict=False) if a != b]
        what = "their numbers of nodes"
        if differing:
            one, two = differing[0]
            what = f"node {one.name} against {two.name}" if one.name != two.name else f"what node {one.name} can do"
        raise VerificationError(f"the plan is for another topology: they differ in {what}")
    ours, theirs = ({(link.src, link.dst): link for link in t.links} for t in (topology, expected))
    for pair in ours.keys() | theirs.keys():
        if ours.get(pair) != theirs.get(pair):
            a, b = (topology.nodes[node].name for node in pair)
            raise VerificationError(f"the plan is for another topology: they differ in the link {a} → {b}")
