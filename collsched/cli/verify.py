"""`collsched verify`: re-check every claim of a plan file, from the topology and the collective in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common

if TYPE_CHECKING:
    from collsched.plan import Plan, PlanReport


@click.command("verify", short_help="Re-check every claim of a plan file.")
@click.argument("plan_path", metavar="PLAN")
@click.option("--topology", metavar="TOPO", help="Also check that the plan was compiled for this topology.")
@common.set_option
@common.json_option
def verify_command(plan_path: str, topology: str | None, settings: tuple[str, ...], as_json: bool) -> int:
    """Re-check every claim of PLAN: trees, bound, and that the schedule does what its collective promises.

    Nothing that the file claims is believed. Exit code 0: the plan is right; 1: it is not; 2: it cannot be read.

    \b
    collsched verify plan.cs
    collsched verify plan.cs --topology ./cluster.yaml
    """
    from collsched.errors import InputError, VerificationError
    from collsched.plan import Plan

    if settings and topology is None:
        raise InputError("--set gives parameters to a bundled topology; name it with --topology")
    with common.progress() as progress:
        progress("reading the plan")
        plan = Plan.load(plan_path)
        expected = None if topology is None else common.load_topology(topology, settings)
        progress("verifying")
        try:
            report = plan.verify(topology=expected)
        except VerificationError as error:
            if not as_json:
                raise VerificationError(f"{plan_path}: {error}") from None
            common.print_json({"plan": plan_path, "digest": plan.digest, "verified": False, "error": str(error)})
            return error.exit_code
    if as_json:
        common.print_json(_summary(plan_path, plan, report))
    else:
        _show(plan, report)
    return 0


def _summary(path: str, plan: Plan, report: PlanReport) -> dict[str, Any]:
    """What `--json` prints. Ratios are texts, in 1/(GB/s) per unit of shard weight; rates null where nothing moves."""
    return {
        "plan": path,
        "digest": plan.digest,
        "verified": True,
        "ranks": len(plan.collective.group),
        "collective": str(plan.collective.kind),
        "trees": sum(forest.trees for forest in report.forests),
        "bound": {"ratio": str(report.bound), "algbw_GBps": common.algbw(plan.weight, report.bound)},
        "forest": {
            "ratio": str(report.ratio),
            "algbw_GBps": common.algbw(plan.weight, report.ratio),
            "depth_mean": max(forest.depth_mean for forest in report.forests),
            "depth_max": max(forest.depth_max for forest in report.forests),
        },
        "optimal": report.optimal,
        "chunks": report.schedule.chunks,
        "transfers": report.schedule.transfers,
        "seconds": dict(report.seconds),
    }


def _show(plan: Plan, report: PlanReport) -> None:
    from collsched.cli import _views as views

    console = common.console()
    views.show_fabric(console, plan.topology)
    ranks = views.plural(len(plan.collective.group), "rank")
    views.row(console, "plan", f"{plan.collective.kind} of {ranks} · digest {plan.digest[:16]}")
    rate = common.algbw(plan.weight, report.ratio)
    if rate is None:
        views.row(console, "forest", "nothing has to move")
    else:
        meets = "meets its bound" if report.optimal else f"{views.share(report.bound, report.ratio)} of its bound"
        views.row(console, "forest", f"{views.rate(rate)}, {meets}")
        for forest in report.forests:
            depth = f"{views.plural(forest.depth_max, 'hop')} deep (mean {forest.depth_mean:.4g})"
            views.row(console, "", f"{views.plural(forest.trees, 'tree')}, {depth}")
    moved = f"{views.plural(report.schedule.transfers, 'transfer')} of {views.plural(report.schedule.chunks, 'chunk')}"
    views.row(console, "schedule", f"{moved}: complete, each contribution once, no race, no deadlock")
    views.show_stages(console, report.seconds)
    views.row(console, "verified", "every claim recomputed", style="bold green")
