"""A plan chosen by simulated time: for every range of sizes the fastest of all that is known, in its best shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from collsched.collective import Collective, Kind
from collsched.contest import Contest, Entry, Heat, known_algorithms, ranges
from collsched.errors import InputError
from collsched.forest.bounds import allreduce_bound
from collsched.forest.optimum import optimum
from collsched.forest.partners import partners
from collsched.forest.problem import directions, problem
from collsched.plan import Plan
from collsched.plan.parts import Range, Variant
from collsched.request import Request

GB = 10**9
FEW_TREES = (1, 2, 3, 4, 6, 8, 10, 24)  # per root: other numbers than the bound needs are often faster
WITH_PARTNERS = ((None, 0), (6, 0), (12, 0), (16, 0), (24, 0))  # per root (None: as many as the bound needs), seed
AND_SEEDS = ((None, 1), (None, 2), (8, 0), (12, 1))  # of few ranks
FEW_RANKS = 16
MANY_RANKS = 256  # beyond, only the first two of them

Planned = Callable[[Request], Plan]


def by_simulation(request: Request, planned: Planned, sizes: Sequence[int]) -> Plan:
    """The plan with a range for each of `sizes` (ascending), whose own forests are those for `request.size`.

    `planned` makes the plan of the highest throughput. Its provenance holds all candidates with their times.
    """
    packed = (*_packed(request, planned), *_with_partners(request, planned))
    plans = {_entry(plan, text): plan for plan, text in packed}
    with request.stage("candidates"):
        contest = Contest(request.topology, _proven(request), progress=request.stage.tell)
        for entry in plans:
            contest.enter(entry)
        for entry in known_algorithms(request.topology, request.collective):
            contest.enter(entry)
    with request.stage("simulation"):
        heats = [contest.heat(nbytes) for nbytes in sizes]
    parts = ranges(heats)
    entries: dict[Entry, Variant] = {}
    for _, heat in parts:
        entry, _ = heat.winner
        if entry not in entries:
            entries[entry] = _variant(request, entry, plans.get(entry))
    own = next(heat.winner for upto, heat in parts if upto is None or request.size <= upto)
    order = [own[0], *(entry for entry in entries if entry is not own[0])]
    variant = entries[own[0]]
    options = {**variant.options, "segments": own[1].shape.segments, "pacing": own[1].shape.pacing}
    plan = Plan(
        request.topology,
        variant.collective,
        variant.forests,
        variant.bound,
        options,
        {**next(iter(plans.values())).provenance, "candidates": [row for heat in heats for row in _rows(heat)]},
        tuple(entries[entry] for entry in order[1:]),
        tuple(Range(upto, order.index(heat.winner[0]), heat.winner[1].shape) for upto, heat in parts),
    )
    with request.stage("verification"):
        _ = plan.report
    return plan


def _packed(request: Request, planned: Planned) -> Iterator[tuple[Plan, str]]:
    """Plans of the compiler's own trees: those of the highest throughput, and some numbers of them."""
    best = planned(request)
    yield best, best.options.get("allreduce", "") if best.joint else ""
    if request.trees_per_root is not None or best.collective.kind is Kind.ALL_TO_ALL:
        return
    for k in FEW_TREES if len(best.collective.group) <= MANY_RANKS else FEW_TREES[:2]:
        if best.joint or k not in {forest.k for forest in best.forests}:
            try:
                yield planned(replace(request, trees_per_root=k)), f"{k} per root"
            except InputError:  # the fabric cannot carry so few, such as where switches send more than they receive
                continue


def _with_partners(request: Request, planned: Planned) -> Iterator[tuple[Plan, str]]:
    """Plans of trees on a fabric with partners in place of switches, where those cost no throughput."""
    many = len(request.collective.group) > MANY_RANKS
    if many or request.trees_per_root is not None or request.collective.kind is Kind.ALL_TO_ALL:
        return
    fabric = partners(request.topology)
    if fabric is None:
        return
    both = (fabric.topology, request.topology)
    for reverse in directions(request.collective.kind):
        if len({optimum(problem(topology, request.collective, reverse=reverse)).ratio for topology in both}) > 1:
            return
    few = len(request.collective.group) <= FEW_RANKS
    for k, seed in WITH_PARTNERS + AND_SEEDS * few:
        try:
            found = planned(replace(request, topology=fabric.topology, trees_per_root=k, seed=request.seed + seed))
        except InputError:
            continue
        forests = tuple(fabric.lifted(forest) for forest in found.forests)
        bound = _bound(request, found.collective)
        plan = Plan(request.topology, found.collective, forests, bound, found.options, found.provenance)
        yield plan, ", ".join([f"{k} per root"] * (k is not None) + ["partners"] + [f"seed {seed}"] * (seed > 0))


def _entry(plan: Plan, text: str) -> Entry:
    return Entry("trees", text, plan.collective, plan.forests, packed=True)


def _proven(request: Request) -> Callable[[int], float]:
    """Seconds that no schedule can beat, by bytes of the buffer."""
    topology, collective = request.topology, request.collective
    if collective.kind is Kind.ALL_TO_ALL:
        return lambda _: 0.0
    if collective.kind is Kind.ALLREDUCE:
        ratio = allreduce_bound(topology, collective).ratio
    else:
        (reverse,) = directions(collective.kind)
        ratio = optimum(problem(topology, collective, reverse=reverse)).ratio
    per_byte = float(ratio) / (collective.weight * GB)
    return lambda nbytes: nbytes * per_byte


def _variant(request: Request, entry: Entry, plan: Plan | None) -> Variant:
    chosen: Mapping[str, Any] = {"objective": "auto", "algorithm": entry.name, "variant": entry.variant}
    if plan is not None:
        return Variant(plan.collective, plan.forests, plan.bound, {**plan.options, **chosen})
    options: dict[str, Any] = {"size": request.size, "seed": request.seed, "pipeline": request.pipeline}
    if entry.collective.kind is Kind.ALLREDUCE:
        options["allreduce"] = "two-phase"
    return Variant(entry.collective, entry.forests, _bound(request, entry.collective), {**options, **chosen})


def _bound(request: Request, collective: Collective) -> tuple[Any, ...]:
    phases = directions(collective.kind)
    return tuple(optimum(problem(request.topology, collective, reverse=reverse)) for reverse in phases)


def _rows(heat: Heat) -> Iterator[dict[str, Any]]:
    """The candidates at one size, as provenance keeps them: simulated ones first."""
    for result in heat.results:
        row: dict[str, Any] = {
            "bytes": heat.nbytes,
            "algorithm": result.entry.name,
            "variant": result.entry.variant,
        }
        if result.timed is None:
            yield {**row, "at_least_seconds": result.least}
        else:
            shape = result.timed.shape
            yield {**row, "seconds": result.timed.seconds, "segments": shape.segments, "pacing": shape.pacing}
