"""What bounds a collective and what would raise the bound, for the verbs that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from collsched.cli import _common as common
from collsched.cli import _views as views
from collsched.collective import Collective, Kind
from collsched.forest.bounds import Bound, allreduce_bound
from collsched.forest.optimum import Cut, Optimum, optimum
from collsched.forest.problem import directions, problem
from collsched.topology.model import Topology

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.forest.sensitivity import Raise
    from collsched.plan import Plan

MOST_RAISES = 3  # shown for a phase
UNBALANCED = "but some switch would have to send more than it receives, which binds more than any one cut"


@dataclass(frozen=True, slots=True)
class Limit:
    """A proven limit, T ≥ (M / W)·`bound.ratio`, and the optima of the phases in turn."""

    collective: Collective
    bound: Bound
    phases: tuple[Optimum, ...]

    @property
    def weight(self) -> int:
        """W: the shard sizes of one buffer."""
        return self.collective.weight

    @property
    def reached(self) -> bool:
        """Whether trees are known to reach every phase's bound."""
        return all(phase.reached == phase.proven for phase in self.phases)

    @property
    def phases_ratio(self) -> Fraction:
        """What no two phases, one after the other, can beat."""
        return sum((phase.proven for phase in self.phases), Fraction(0))

    @property
    def reached_ratio(self) -> Fraction:
        """What trees are known to reach, phase after phase."""
        return sum((phase.reached for phase in self.phases), Fraction(0))


def limit(topology: Topology, collective: Collective, phases: Sequence[Optimum]) -> Limit:
    """The limit of a collective whose phases have these optima."""
    if collective.kind is Kind.ALLREDUCE:
        return Limit(collective, allreduce_bound(topology, collective), tuple(phases))
    (phase,) = phases
    return Limit(collective, Bound(phase.proven, phase.cut if phase.proven == phase.ratio else None, None), (phase,))


def plan_limit(plan: Plan) -> Limit:
    """The limit of a plan's collective; of an allreduce whose roots the compiler chose, with equal shards instead."""
    if not plan.joint:
        return limit(plan.topology, plan.collective, plan.bound)
    equal = replace(plan.collective, shards=(1,) * len(plan.collective.group))
    phases = [optimum(problem(plan.topology, equal, reverse=reverse)) for reverse in directions(equal.kind)]
    return limit(plan.topology, equal, phases)


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


def show_limit(console: Console, topology: Topology, proven: Limit) -> None:
    """The collective, its bound and what proves it; of an allreduce also its two phases."""
    collective = proven.collective
    views.row(console, "collective", describe(topology, collective))
    weight, ratio = proven.weight, proven.bound.ratio
    if ratio == 0:
        views.row(console, "bound", "none: nothing has to move")
        return
    views.row(console, "bound", f"{views.rate(common.algbw(weight, ratio))}, ratio {ratio}", style="bold")
    if collective.kind is Kind.ALLREDUCE:
        views.row(console, "", describe_bound(topology, proven.bound))
        both = views.rate(common.algbw(weight, proven.phases_ratio))
        views.row(console, "two phases", f"{both}, ratio {proven.phases_ratio}")
    for text in describe_cuts(topology, collective, proven.phases):
        views.row(console, "", text)
    if proven.phases[0].prices is not None:
        _show_prices(console, topology, proven)
        return
    if not all(phase.certified for phase in proven.phases):
        views.row(console, "", UNBALANCED)
    if not proven.reached:
        views.row(console, "", f"trees are known to reach {views.rate(common.algbw(weight, proven.reached_ratio))}")


def _show_prices(console: Console, topology: Topology, proven: Limit) -> None:
    """The links whose prices bound an all-to-all, the dearest first, and how far paths are from the bound."""
    by_price: dict[tuple[int, Fraction], list[int]] = {}
    for number, price in enumerate(proven.phases[0].prices or ()):
        if price:
            by_price.setdefault((price, topology.links[number].bandwidth), []).append(number)
    for (_, bandwidth), links in sorted(by_price.items(), key=lambda item: -item[0][0])[:MOST_RAISES]:
        first = topology.links[links[0]]
        name = f"{topology.nodes[first.src].name} → {topology.nodes[first.dst].name}"
        count = f"{len(links):,} links such as {name}" if len(links) > 1 else name
        views.row(console, "", f"limited by {count} of {views.rate(bandwidth)}")
    reached = views.share(proven.bound.ratio, proven.reached_ratio)
    views.row(console, "", "paths reach it exactly" if proven.reached else f"paths are known to reach {reached} of it")


def describe_cuts(topology: Topology, collective: Collective, phases: Sequence[Optimum]) -> list[str]:
    """Each phase's cut in words, `8 of 16 shards must go out of box0/gpu0 over 200 GB/s`; once if they share it."""
    cuts = [phase.cut for phase in phases]
    reverses = list(directions(collective.kind))
    twice = len(cuts) == 2 and cuts[0] == cuts[1]
    texts = []
    for cut, reverse in zip(cuts, reverses, strict=True):
        if cut is not None:
            way = _crossing(topology, cut, out=not reverse)
            texts.append(f"{_portion(collective, cut)} must go {way}")
    return [f"{texts[0]}, then back"] if twice and texts else texts


def _portion(collective: Collective, cut: Cut) -> str:
    """How much of the data a cut holds."""
    weight = sum(collective.shards)
    if set(collective.shards) == {1}:
        return f"{cut.weight_inside:,} of {views.plural(weight, 'shard')}"
    return f"{views.share(Fraction(cut.weight_inside), Fraction(weight))} of the data"


def describe_bound(topology: Topology, bound: Bound) -> str:
    """What proves the bound of an allreduce, in words."""
    if bound.parts is not None:
        first = views.members(topology, bound.parts[0])
        return (
            f"{len(bound.parts):,} parts of the fabric ({first}, …) must exchange {2 * (len(bound.parts) - 1):,} "
            "times the buffer over the links between them"
        )
    assert bound.cut is not None
    return f"the whole buffer must go {_crossing(topology, bound.cut, out=True)}"


def _crossing(topology: Topology, cut: Cut, *, out: bool) -> str:
    """`out of box0/gpu[0-7] over 200 GB/s`; what goes out of one side of a cut goes into the other."""
    inside = set(cut.side)
    outside = [node for node in range(len(topology.nodes)) if node not in inside]
    named, out = (outside, not out) if len(outside) < len(inside) else (cut.side, out)
    return f"{'out of' if out else 'into'} {views.members(topology, named)} over {views.rate(cut.exit_bandwidth)}"


def show_raises(
    console: Console,
    topology: Topology,
    collective: Collective,
    phases: Sequence[Optimum],
    raises: Sequence[Sequence[Raise]],
) -> None:
    """Which links would raise the rate of the phases in turn, and up to what."""
    weight = sum(collective.shards)
    total = sum((phase.ratio for phase in phases), Fraction(0))
    # Both directions of the same cables, one for each phase of an allreduce, are one piece of advice.
    merged: dict[object, list[tuple[Optimum, Raise]]] = {}
    for phase, found_here in zip(phases, raises, strict=True):
        for found in found_here:
            ends = (topology.links[link] for link in found.links)
            cables = frozenset(frozenset((link.src, link.dst)) for link in ends)
            merged.setdefault((cables, found.ratio, found.bandwidth), []).append((phase, found))
    for number, advice in enumerate(list(merged.values())[:MOST_RAISES]):
        lost = sum((phase.ratio - (found.ratio or 0) for phase, found in advice), Fraction(0))
        text = _describe_raise(topology, advice[0][1], "→" if len(advice) == 1 else "↔")
        if advice[0][1].ratio is not None:
            text += f": {views.rate(common.algbw(weight, total))} to {views.rate(common.algbw(weight, total - lost))}"
        views.row(console, "" if number else "to raise it", text)
    if len(merged) > MOST_RAISES:
        views.row(console, "", f"… or {len(merged) - MOST_RAISES} more (all of them with --json)")


def _describe_raise(topology: Topology, found: Raise, arrow: str) -> str:
    """`16 links such as box0/gpu0 → ib0, all of them, from 25 GB/s to 75 GB/s`."""
    first = topology.links[found.links[0]]
    name = f"{topology.nodes[first.src].name} {arrow} {topology.nodes[first.dst].name}"
    links = name if len(found.links) == 1 else f"{len(found.links):,} links such as {name}, all of them,"
    if found.bandwidth is None:
        return f"{links} above {views.rate(found.now)}: the rate grows with them, without end"
    return f"{links} from {views.rate(found.now)} to {views.rate(found.bandwidth)}"
