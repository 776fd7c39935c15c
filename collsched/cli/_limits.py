"""What bounds a collective, for the verbs that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from collsched.cli import _common as common
from collsched.cli import _views as views
from collsched.collective import Collective, Kind
from collsched.forest.optimum import Cut, Optimum
from collsched.forest.problem import directions
from collsched.topology.model import Topology

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Limit:
    """A proven limit: T ≥ (M / W)·ratio. `cut` proves it, unless that takes more than one; `phases` are the optima of
    the phases in turn."""

    ratio: Fraction
    cut: Cut | None
    phases: tuple[Optimum, ...]

    @property
    def reached(self) -> bool:
        """Whether trees are known to reach every phase's optimum."""
        return all(phase.certified for phase in self.phases)

    @property
    def phases_ratio(self) -> Fraction:
        """The phases one after the other."""
        return sum((phase.ratio for phase in self.phases), Fraction(0))


def limit(topology: Topology, collective: Collective, phases: Sequence[Optimum]) -> Limit:
    """The limit of a collective whose phases have these optima."""
    if collective.kind is Kind.ALLREDUCE:
        return Limit(sum((p.ratio for p in phases), Fraction(0)), None, tuple(phases))
    (phase,) = phases
    return Limit(phase.ratio, phase.cut, (phase,))


def describe(topology: Topology, collective: Collective) -> str:
    """The collective in words: `broadcast from box0/gpu3 over 8 of 16 ranks`."""
    count = len(collective.group)
    over = views.plural(count, "rank")
    if count < len(topology.ranks):
        over = f"{count:,} of {views.plural(len(topology.ranks), 'rank')}"
    root = ""
    if collective.root is not None:
        towards = "to" if collective.kind in (Kind.REDUCE, Kind.GATHER) else "from"
        root = f" {towards} {topology.nodes[topology.ranks[collective.root]].name}"
    unequal = ", unequal shards" if len(set(collective.shards)) > 1 else ""
    return f"{collective.kind}{root} over {over}{unequal}"


def show_limit(console: Console, topology: Topology, collective: Collective, proven: Limit) -> None:
    """The collective, its bound, and the cut of each phase."""
    views.row(console, "collective", describe(topology, collective))
    weight = sum(collective.shards)
    if proven.ratio == 0:
        views.row(console, "bound", "none: nothing has to move")
        return
    best = views.rate(common.algbw(weight, proven.ratio))
    views.row(console, "bound", f"{best}, ratio {proven.ratio}", style="bold")
    for phase, reverse in zip(proven.phases, directions(collective.kind), strict=True):
        if phase.cut is not None:
            views.row(console, "", describe_cut(topology, collective, phase.cut, reverse=reverse))
    if collective.kind is Kind.ALLREDUCE:
        rate = views.rate(common.algbw(weight, proven.phases_ratio))
        views.row(console, "", f"reduce-scatter, then allgather: {rate}, ratio {proven.phases_ratio}")
    if not proven.reached:
        views.row(
            console,
            "",
            "Some switch's links out of it carry more than those into it, and switches do not copy: the bound is "
            "proven, but trees may not reach it. A plan claims only what its own forest reaches.",
        )


def describe_cut(topology: Topology, collective: Collective, cut: Cut, *, reverse: bool) -> str:
    """A cut in words, from whichever of its sides has fewer nodes: `8 of 16 shards must go into box0/* over …`."""
    weight = sum(collective.shards)
    data = f"{cut.weight_inside:,} of {views.plural(weight, 'shard')}"
    if set(collective.shards) != {1}:
        data = f"{views.share(Fraction(cut.weight_inside), Fraction(weight))} of the data"
    inside = set(cut.side)
    outside = [node for node in range(len(topology.nodes)) if node not in inside]
    # What goes out of one side goes into the other; in a reversed phase data enters the cut's own side.
    named, out = (outside, reverse) if len(outside) < len(inside) else (cut.side, not reverse)
    verb = "out of" if out else "into"
    return f"{data} must go {verb} {views.members(topology, named)} over {views.rate(cut.exit_bandwidth)}"
