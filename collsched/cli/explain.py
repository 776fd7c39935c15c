"""`collsched explain`: what bounds a collective on a fabric, where, and what would raise it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common
from collsched.errors import InputError

if TYPE_CHECKING:
    from collsched.cli._in_network import Without
    from collsched.cli._limits import Limit
    from collsched.collective import Collective
    from collsched.forest.joint import Ways
    from collsched.forest.optimum import Cut
    from collsched.forest.sensitivity import Raise
    from collsched.plan import Plan
    from collsched.topology.model import Topology


@click.command("explain", short_help="What bounds a collective, and what would raise it.")
@click.argument("subject", metavar="TOPO|PLAN")
@common.set_option
@common.collective_options
@common.json_option
def explain_command(
    subject: str,
    settings: tuple[str, ...],
    kind: str,
    root: str | None,
    group: str | None,
    shards: str | None,
    matrix: str | None,
    as_json: bool,
) -> None:
    """Explain what bounds a collective on TOPO, or the bound and the forest of PLAN.

    The ratio is exact: no schedule moves M bytes in less than M / (total shard size) × ratio. The cut proves it.

    \b
    collsched explain dgx-a100 --set boxes=2 -c allgather
    collsched explain plan.cs
    """
    from collsched.cli._allreduce import best_trees
    from collsched.cli._in_network import without
    from collsched.cli._limits import limit
    from collsched.collective import Kind
    from collsched.forest.concurrent import exchange
    from collsched.forest.optimum import check_reachable, optimum
    from collsched.forest.problem import directions, problem
    from collsched.forest.sensitivity import sensitivity
    from collsched.plan import is_plan

    plan: Plan | None = None
    with common.progress() as progress:
        if is_plan(Path(subject)):
            progress("verifying the plan")
            plan = _load_plan(subject, settings=settings, root=root, group=group, shards=shards, matrix=matrix)
            topology, collective = plan.topology, plan.collective
            if plan.joint:  # the bounds are about the allreduce, not about the roots that the compiler chose
                collective = replace(collective, shards=(1,) * len(collective.group))
        else:
            progress("reading the topology")
            topology = common.load_topology(subject, settings)
            collective = common.load_collective(topology, kind, root, group, shards, matrix)
        progress("finding the bottleneck cut")
        check_reachable(topology, collective)
        phases = [problem(topology, collective, reverse=reverse) for reverse in directions(collective.kind)]
        exchanged = collective.kind is Kind.ALL_TO_ALL
        optima = [exchange(topology, collective).optimum] if exchanged else [optimum(phase) for phase in phases]
        proven = limit(topology, collective, optima)
        progress("finding the best trees")
        trees = best_trees(topology, proven)
        plain = without(topology, collective)
        progress("finding what would raise it")
        # Faster links are no advice where it is a switch's balance that binds.
        raises = [
            sensitivity(phase, best) if best.certified and best.cut else []
            for phase, best in zip(phases, optima, strict=True)
        ]
    if as_json:
        common.print_json(_summary(topology, proven, trees, raises, plain, plan))
    else:
        _show(topology, proven, trees, raises, plain, plan)


def _load_plan(path: str, **options: object) -> Plan:
    """A verified plan, which has settled the `options`: InputError if any of them is given."""
    from collsched.plan import Plan

    if common.is_given("kind"):
        options["collective"] = True
    for name, value in options.items():
        if value:
            option = {"settings": "set"}.get(name, name)
            raise InputError(
                f"--{option} does not apply to a plan, which has its own; leave it out, or name a topology"
            )
    plan = Plan.load(path)
    _ = plan.report
    return plan


def _summary(
    topology: Topology,
    proven: Limit,
    trees: Ways | None,
    raises: Sequence[Sequence[Raise]],
    plain: Without | None,
    plan: Plan | None,
) -> dict[str, Any]:
    """What `--json` prints. Rates in GB/s, null where nothing moves."""
    from collsched.cli import _in_network
    from collsched.cli._allreduce import summarise
    from collsched.cli._ranges import candidates_of

    collective, weight, bound = proven.collective, proven.weight, proven.bound
    answer: dict[str, Any] = {
        "topology": topology.name,
        "ranks": len(collective.group),
        "collective": collective.kind.value,
        "root": None if collective.root is None else topology.nodes[topology.ranks[collective.root]].name,
        "bound": {
            "ratio": str(bound.ratio),
            "algbw_GBps": common.algbw(weight, bound.ratio),
            "reached_by_trees": proven.reached,
        },
        "cut": None if bound.cut is None else _cut(topology, collective, bound.cut),
    }
    if bound.parts is not None:
        answer["parts"] = [[topology.nodes[node].name for node in part] for part in bound.parts]
    if len(proven.phases) > 1:
        answer["two_phase_algbw_GBps"] = common.algbw(weight, proven.reached_ratio)
    if trees is not None:
        answer |= summarise(trees)
    if plain is not None:
        answer["in_network"] = _in_network.summarise(topology, plain)
    if proven.phases[0].prices is not None:
        answer["reached_algbw_GBps"] = common.algbw(weight, proven.reached_ratio)
        answer["prices"] = [
            [topology.nodes[link.src].name, topology.nodes[link.dst].name, price]
            for link, price in zip(topology.links, proven.phases[0].prices, strict=True)
            if price
        ]
    answer["raises"] = [
        _raise(topology, weight, found, phase) for phase, found_in in enumerate(raises) for found in found_in
    ]
    if plan is not None:
        answer["digest"] = plan.digest
        answer |= candidates_of(plan)
        answer["forest"] = {"ratio": str(plan.report.ratio), "algbw_GBps": common.algbw(plan.weight, plan.report.ratio)}
    return answer


def _cut(topology: Topology, collective: Collective, cut: Cut) -> dict[str, Any]:
    inside = set(cut.side)
    return {
        "side": [topology.nodes[node].name for node in cut.side],
        "ranks_inside": sum(topology.ranks[rank] in inside for rank in collective.group),
        "weight_inside": cut.weight_inside,
        "exit_bandwidth": common.number(cut.exit_bandwidth),
    }


def _raise(topology: Topology, weight: int, found: Raise, phase: int) -> dict[str, Any]:
    """Links that would raise a phase's bound if they were all faster by one factor; null: without limit."""
    ends = [topology.links[link] for link in found.links]
    return {
        "phase": phase,
        "links": [[topology.nodes[link.src].name, topology.nodes[link.dst].name] for link in ends],
        "bandwidth_now": common.number(found.now),
        "bandwidth": None if found.bandwidth is None else common.number(found.bandwidth),
        "factor": None if found.bandwidth is None else str(found.bandwidth / found.now),
        "ratio": None if found.ratio is None else str(found.ratio),
        "algbw_GBps": None if found.ratio is None else common.algbw(weight, found.ratio),
    }


def _show(
    topology: Topology,
    proven: Limit,
    trees: Ways | None,
    raises: Sequence[Sequence[Raise]],
    plain: Without | None,
    plan: Plan | None,
) -> None:
    from collsched.cli import _in_network
    from collsched.cli import _views as views
    from collsched.cli._allreduce import show_best_trees, show_plan_forests
    from collsched.cli._limits import show_limit, show_raises
    from collsched.cli._ranges import show_candidates

    console = common.console()
    views.show_fabric(console, topology)
    show_limit(console, topology, proven)
    show_best_trees(console, proven, trees)
    if plain is not None:
        _in_network.show(console, topology, plain)
    show_raises(console, topology, proven.collective, proven.phases, raises)
    if plan is not None:
        show_plan_forests(console, plan, proven)
        show_candidates(console, plan)
