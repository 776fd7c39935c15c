"""What `show` tells of a plan: its motion, its times beside other algorithms, and the words of its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from collsched.cli import _common as common
from collsched.cli import _views as views
from collsched.cli._limits import Limit, describe, describe_bound, describe_cuts
from collsched.cli.simulate import PLAN, contests
from collsched.forest.problem import directions
from collsched.plan import Plan
from collsched.report.motion import Motion, predicted, simulated
from collsched.report.payload import Story, Table
from collsched.report.trace import MOST_SPANS
from collsched.simulate import Model

if TYPE_CHECKING:
    from collsched.algorithms.catalogue import Baseline

SIMULATED = 1 << 15  # transfers of a plan that is simulated for its timeline without being asked
COMPARED = 1 << 13  # the same, at every size and against every algorithm
MOST_TRANSFERS = 1 << 22  # of a variant that is tried
SIZES = tuple(1 << power for power in range(10, 31, 2))
SOURCES = {
    "simulated": "simulated, each algorithm at its best number of pieces",
    "predicted": "closed form of the cost model, without what transfers cost their sender: too fast for small buffers",
}


@dataclass(frozen=True, slots=True)
class Times:
    """The motion of a plan that moves `nbytes`, and a table of times where one was asked for."""

    nbytes: int
    motion: Motion
    table: Table | None

    def bounded(self, plan: Plan) -> Motion:
        """The motion, in fewer pieces where there would be more transfers than a trace holds."""
        transfers = len(plan.schedule().transfers.chunk)
        if self.motion.source == "predicted" or transfers * self.motion.segments <= MOST_SPANS:
            return self.motion
        return simulated(plan, self.nbytes, max(1, MOST_SPANS // transfers))


def compare(whole: Plan, nbytes: int, *, all_sizes: bool, simulate: bool, progress: common.Progress) -> Times:
    """The motion of what moves this size; with `all_sizes` the table too. Large plans have a closed form, unless
    `simulate`."""
    plan = whole.at(nbytes)
    transfers = len(plan.schedule().transfers.chunk)
    sizes = tuple(sorted({*SIZES, nbytes} - {0})) if all_sizes else ()
    if transfers > SIMULATED and not simulate:
        progress("predicting")
        return Times(nbytes, predicted(plan, nbytes), _predicted_table(whole, sizes) if sizes else None)
    table: Table | None = None
    segments: int | None = None
    if sizes and (transfers <= COMPARED or simulate):
        table, segments = _simulated_table(whole, sizes, nbytes, progress)
    elif sizes:
        table = _predicted_table(whole, sizes)
    progress("simulating the plan")
    if segments is None:
        segments = _segments(plan, nbytes)
    return Times(nbytes, simulated(plan, nbytes, segments), table)


def _segments(plan: Plan, nbytes: int) -> int:
    """The number of pieces with which the plan is fastest."""
    from collsched.choice import Contestant

    return Contestant(plan.topology, plan.schedule(), Model()).at(nbytes).segments if nbytes else 1


def _simulated_table(
    plan: Plan, sizes: Sequence[int], nbytes: int, progress: common.Progress
) -> tuple[Table, int | None]:
    """The table, and the pieces of the plan at `nbytes`."""
    from collsched.choice import fastest

    seconds: dict[str, list[float]] = {}
    segments = None
    for name, contestants in contests(plan, Model()).items():
        progress(f"simulating {name}")
        for size in sizes:
            _, timed = fastest(contestants, size)
            seconds.setdefault(name, []).append(timed.seconds)
            if name == PLAN and size == nbytes:
                segments = timed.segments
    return Table(SOURCES["simulated"], tuple(sizes), seconds), segments


def _predicted_table(plan: Plan, sizes: Sequence[int]) -> Table:
    from collsched.algorithms import baselines

    seconds = {PLAN: [plan.predict(size).seconds for size in sizes]}
    for baseline in baselines(plan.topology, plan.collective):
        if baseline.transfers <= MOST_TRANSFERS:
            times = _predicted(plan, baseline, sizes)
            known = seconds.get(baseline.name, times)
            seconds[baseline.name] = [min(pair) for pair in zip(known, times, strict=True)]
    return Table(SOURCES["predicted"], tuple(sizes), seconds)


def _predicted(plan: Plan, baseline: Baseline, sizes: Sequence[int]) -> list[float]:
    from collsched.cost import predict
    from collsched.forest.check import check_forest
    from collsched.forest.problem import directions

    reports = [
        check_forest(plan.topology, baseline.collective, forest, reverse=reverse)
        for forest, reverse in zip(baseline.forests, directions(baseline.collective.kind), strict=True)
    ]
    weight = baseline.collective.weight
    return [predict(plan.topology, baseline.forests, reports, weight, size).seconds for size in sizes]


def story(plan: Plan, proven: Limit, times: Times) -> Story:
    """What the page of a plan tells."""
    motion = times.motion
    notes = [
        f"Times are {motion.source} from the bandwidths and latencies of the topology; nothing here was measured. "
        f"The bound is proven: no schedule moves the data faster.",
    ]
    if motion.source == "predicted":
        notes.append(
            "The timeline follows the closed form of the cost model, in which all hops of a phase take equally long "
            f"and transfers cost their sender nothing. {senders_cost(plan, motion)} --simulate asks for a simulation."
        )
    sentences = describe_cuts(plan.topology, proven.collective, proven.phases)
    ways = zip(proven.phases, directions(plan.collective.kind), strict=True)
    cuts = [(phase.cut, reverse) for phase, reverse in ways if phase.cut is not None]
    if plan.joint:  # what bounds the phases in turn is not what bounds them at once
        sentences = [describe_bound(plan.topology, proven.bound)]
        cuts = [(proven.bound.cut, False)] if proven.bound.cut is not None else []
    return Story(
        plan, times.nbytes, motion, str(plan.collective.kind), _facts(plan, proven, times),
        [text[:1].upper() + text[1:] for text in sentences], cuts, [describe(plan.topology, proven.collective), *notes],
        times.table,
    )  # fmt: skip


def senders_cost(plan: Plan, motion: Motion) -> str:
    """What the closed form leaves out, in words: the time for which the busiest sender only prepares transfers."""
    from collsched.units import format_seconds

    schedule = plan.schedule()
    begin, _ = schedule.routes.ends(plan.topology)
    most = int(np.bincount(begin[schedule.transfers.route]).max(initial=0)) * motion.segments
    spent = format_seconds(most * float(Model().cost) / 1e6)
    return f"The simulator would charge the busiest sender {spent} for {most:,} transfers."


def _facts(plan: Plan, proven: Limit, times: Times) -> list[tuple[str, str, str]]:
    """The numbers at the head of a page."""
    from collsched.units import format_bytes, format_seconds

    bound = common.algbw(proven.weight, proven.bound.ratio)
    reached = common.algbw(plan.weight, plan.report.ratio)
    if bound is None or reached is None:
        return [("plan", "nothing has to move", "")]
    reports, motion = plan.report.forests, times.motion
    share = views.share(proven.bound.ratio / proven.weight, plan.report.ratio / plan.weight)
    mean = sum(report.depth_mean for report in reports) / len(reports)
    rate = views.rate(times.nbytes / motion.seconds / 1e9 if motion.seconds else None)
    facts = [
        ("bound", views.rate(bound), "no schedule is faster"),
        ("trees of the plan", views.rate(reached), f"{share} of the bound"),
        (motion.source, format_seconds(motion.seconds), f"for {format_bytes(times.nbytes)}, {rate}"),
    ]
    rival = _rival(times)
    if rival is not None:
        facts.append(rival)
    trees = sum(report.trees for report in reports)
    facts.append(("trees", f"{trees:,}", f"up to {max(r.depth_max for r in reports)} hops deep, mean {mean:.3g}"))
    return facts


def _rival(times: Times) -> tuple[str, str, str] | None:
    """The best of the other algorithms at the plan's size."""
    table = times.table
    if table is None or times.nbytes not in table.sizes or len(table.seconds) < 2:
        return None
    at = table.sizes.index(times.nbytes)
    name, best = min(((name, values[at]) for name, values in table.seconds.items() if name != PLAN), key=lambda x: x[1])
    ratio = best / table.seconds[PLAN][at]
    return "against the best other", f"{ratio:.2f} ×", f"{'as fast as' if ratio < 1.005 else 'faster than'} {name}"
