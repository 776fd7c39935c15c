"""Which way of running the two phases of an allreduce is fastest, for the verbs that say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collsched.cli import _views as views
from collsched.cli._limits import Limit
from collsched.collective import Kind
from collsched.topology.model import Topology

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.forest.joint import Joint
    from collsched.plan import Plan


def best_trees(topology: Topology, proven: Limit) -> Joint | None:
    """An allreduce that runs both phases at once and beats them one after the other, if there is one.

    None is looked for where the user has chosen unequal shards.
    """
    if proven.collective.kind is not Kind.ALLREDUCE or set(proven.collective.shards) != {1} or not proven.bound.ratio:
        return None
    from collsched.forest.joint import better_than_two_phases

    return better_than_two_phases(topology, proven.collective, proven.phases, proven.bound)


def show_best_trees(console: Console, proven: Limit, best: Joint | None) -> None:
    """Of an allreduce: which way of running its two phases is fastest, and how near it is to what can be proven."""
    if proven.collective.kind is not Kind.ALLREDUCE or not proven.bound.ratio:
        return
    limit = proven.weight / proven.bound.ratio
    if best is None:
        of_bound = views.share(proven.weight / proven.reached_ratio, limit)
        views.row(console, "best trees", f"two phases, {of_bound} of the bound", style="bold")
        return
    gain = float(best.rate * proven.reached_ratio / proven.weight)
    text = f"both phases at once: {views.rate(best.rate)}, {gain:.2f} × two phases, {views.share(best.rate, limit)}"
    views.row(console, "best trees", f"{text} of the bound", style="bold")
    if best.limit == best.rate < limit:
        views.row(console, "", "no trees can beat that")
    elif best.limit is not None and best.limit > best.rate:
        views.row(console, "", f"no trees beat {views.rate(best.limit)}")


def show_plan_forests(console: Console, plan: Plan, proven: Limit) -> None:
    """The forests of a plan beside what they can be measured by: the bound, or the sum of two phases' bounds."""
    if plan.joint:
        bound, what = proven.bound.ratio / proven.weight * plan.weight, "the bound"
    else:
        bound, what = proven.phases_ratio, "the bound" if len(plan.forests) == 1 else "the two phases' bounds"
    views.show_forests(console, plan, bound, what)
