"""Which way of running the two phases of an allreduce is fastest, for the verbs that say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from collsched.cli import _views as views
from collsched.cli._limits import Limit
from collsched.collective import Kind
from collsched.topology.model import Topology

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.forest.joint import Ways
    from collsched.plan import Plan


def best_trees(topology: Topology, proven: Limit) -> Ways | None:
    """Both ways of running an allreduce; None for any other collective, and where the user chose unequal shards."""
    if proven.collective.kind is not Kind.ALLREDUCE or set(proven.collective.shards) != {1}:
        return None
    from collsched.forest.joint import ways

    return ways(topology, proven.collective, proven.phases, proven.bound)


def summarise(trees: Ways) -> dict[str, Any]:
    """What `--json` prints of both ways, in GB/s."""
    limit = None if trees.joint is None else trees.joint.limit
    return {
        "best_tree_algbw_GBps": None if trees.rate is None else float(trees.rate),
        "best_tree_limit_GBps": None if limit is None else float(limit),
        "winner": None if trees.rate is None else "two-phase" if trees.winner is None else "joint",
    }


def show_best_trees(console: Console, proven: Limit, trees: Ways | None) -> None:
    """Which way of running an allreduce is fastest, and how near it is to what can be proven."""
    if trees is None or trees.rate is None or trees.two_phases is None:
        return
    of_bound = f"{views.share(trees.rate, proven.weight / proven.bound.ratio)} of the bound"
    if trees.winner is None:
        text = f"two phases, {of_bound}"
    else:
        gain = float(trees.rate / trees.two_phases)
        text = f"both phases at once: {views.rate(trees.rate)}, {gain:.2f} × two phases, {of_bound}"
    limit = None if trees.joint is None else trees.joint.limit
    if limit == trees.rate < proven.weight / proven.bound.ratio:
        text += "; no trees beat that"
    elif limit is not None and limit > trees.rate:
        text += f"; no trees beat {views.rate(limit)}"
    views.row(console, "best trees", text, style="bold")


def show_plan_forests(console: Console, plan: Plan, proven: Limit) -> None:
    """The forests of a plan beside what they can be measured by: the bound, or the sum of two phases' bounds."""
    if plan.joint:
        bound, what = proven.bound.ratio / proven.weight * plan.weight, "the bound"
    else:
        bound, what = proven.phases_ratio, "the bound" if len(plan.forests) == 1 else "the two phases' bounds"
    views.show_forests(console, plan, bound, what)
