"""`collsched compile`: from a topology to a verified plan file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common

if TYPE_CHECKING:
    from collsched.cli._limits import Limit
    from collsched.plan import Plan
    from collsched.plan.paths import PathMode


@click.command("compile", short_help="Compile a topology into a verified plan.")
@common.topology_argument
@common.set_option
@common.collective_options
@click.option("-o", "output", metavar="PLAN", help="The plan file; by default TOPOLOGY-COLLECTIVE.cs, here.")
@common.size_option("The buffer's size, for predictions and exports.")
@click.option(
    "--objective",
    type=click.Choice(["throughput", "latency", "auto"]),
    default="throughput",
    show_default=True,
    help="throughput: what nothing beats on a buffer without end. auto: what is fastest in simulated time, size by "
    "size from 1 KiB to 1 GiB; with --size, at that size. latency: at 1 KiB.",
)
@click.option(
    "--trees-per-root",
    type=int,
    metavar="K",
    help="Exactly K trees per rank (per unit of shard size), at the best rate that K trees can have.",
)
@click.option(
    "--pipeline",
    type=click.Choice(["auto", "fast", "guaranteed"]),
    default="auto",
    show_default=True,
    help="How trees are found; auto takes the guaranteed way where the fast one fails.",
)
@click.option(
    "--allreduce",
    type=click.Choice(["auto", "two-phase", "joint"]),
    default="auto",
    show_default=True,
    help="An allreduce in two phases, or as both at once on shares of the links; auto takes the faster, "
    "of up to 1,024 ranks.",
)
@click.option(
    "--in-network",
    type=click.Choice(["auto", "off"]),
    default="auto",
    show_default=True,
    help="Let switches that can do so copy and sum data on its way; off leaves it to the ranks.",
)
@click.option(
    "--paths",
    type=click.Choice(["auto", "pinned", "spray", "ecmp"]),
    default="auto",
    show_default=True,
    help="pinned: plan the paths of each phase's flows anew; spray, ecmp: also simulate a fabric that chooses them.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds give equal plans.")
@common.force_option
@common.json_option
def compile_command(
    topology: str,
    settings: tuple[str, ...],
    kind: str,
    shards: str | None,
    matrix: str | None,
    output: str | None,
    size: int,
    paths: PathMode,
    force: bool,
    as_json: bool,
    objective: Any,
    **options: Any,  # root, group, trees_per_root, pipeline, allreduce, in_network, seed: as the compiler calls them
) -> None:
    """Compile TOPO, a topology file or the name of a bundled one, into a plan.

    The plan's forest meets the bound that the fabric's cuts set, and a verifier that shares no code with the
    compiler has checked it before it is written.

    \b
    collsched compile dgx-a100 --set boxes=2 -c allgather
    collsched compile dgx-a100 --set boxes=8 --objective auto
    collsched compile ./cluster.yaml -c broadcast --root box0/gpu3 --json
    """  # fmt: skip
    from collsched.cli._limits import plan_limit
    from collsched.cli._paths import apply_paths
    from collsched.collective import parse_kind, read_shards
    from collsched.compiler import Stages, compile
    from collsched.errors import InputError
    from collsched.matrix import read_matrix
    from collsched.plan import check_target

    if paths != "auto" and objective != "throughput":
        raise InputError(f"--paths {paths} is about one schedule, --objective {objective} about several; leave one out")
    with common.progress() as progress:
        stage = Stages(progress)
        with stage("reading"):
            fabric = common.load_topology(topology, settings)
            path = common.default_output(fabric, parse_kind(kind), ".cs") if output is None else Path(output)
            check_target(path, force=force)  # before the work, not after it
            sizes = None if shards is None else read_shards(shards)
            pairs = None if matrix is None else read_matrix(matrix)
        asked = objective == "auto" and common.is_given("size")
        among = (size,) if asked and size else None
        chosen = {**options, "objective": objective, "sizes": among}
        plan = compile(fabric, kind, shards=sizes, matrix=pairs, size=size, stages=stage, **chosen)
        with stage("paths"):
            plan, routed = apply_paths(plan, paths, options["seed"])
        with stage("writing"):
            plan.save(path, force=force)
        with stage("limit"):
            proven = plan_limit(plan)
    if as_json:
        common.print_json(_summary(plan, proven, path, size, stage.seconds) | ({"paths": routed} if routed else {}))
    else:
        _show(plan, proven, path, size, stage.seconds, routed)


def _summary(plan: Plan, proven: Limit, path: Path, size: int, seconds: dict[str, float]) -> dict[str, Any]:
    """What `--json` prints. Rates in GB/s, null where nothing moves."""
    report = plan.report
    from collsched.cli._ranges import ranges_of

    prediction = plan.predict(size)
    return {
        "plan": str(path),
        "digest": plan.digest,
        "ranks": len(plan.collective.group),
        "collective": plan.collective.kind.value,
        **({"allreduce": plan.options["allreduce"]} if "allreduce" in plan.options else {}),
        "trees": sum(forest.trees for forest in report.forests),
        "trees_per_root": plan.forests[-1].k,
        "bound": {"ratio": str(proven.bound.ratio), "algbw_GBps": common.algbw(proven.weight, proven.bound.ratio)},
        "forest": {
            "ratio": str(report.ratio),
            "algbw_GBps": common.algbw(plan.weight, report.ratio),
            "depth_mean": max(forest.depth_mean for forest in report.forests),
            "depth_max": max(forest.depth_max for forest in report.forests),
        },
        "predicted": {"bytes": size, "seconds": prediction.seconds, "algbw_GBps": prediction.algbw_GBps},
        **({"ranges": ranges_of(plan)} if plan.ranges else {}),
        "verified": True,
        "seconds": seconds,
        "peak_rss_bytes": common.peak_rss_bytes(),
    }


def _show(
    plan: Plan, proven: Limit, path: Path, size: int, seconds: dict[str, float], routed: dict[str, Any] | None
) -> None:
    from collsched.cli import _views as views
    from collsched.cli._allreduce import show_plan_forests
    from collsched.cli._limits import show_limit
    from collsched.cli._paths import show_paths
    from collsched.cli._ranges import show_ranges
    from collsched.units import format_bytes, format_seconds

    console = common.console()
    views.show_fabric(console, plan.topology)
    show_limit(console, plan.topology, proven)
    show_plan_forests(console, plan, proven)
    prediction = plan.predict(size)
    rate = views.rate(prediction.algbw_GBps)
    show_ranges(console, plan)
    views.row(console, "predicted", f"{format_seconds(prediction.seconds)} for {format_bytes(size)}, {rate}")
    show_paths(console, routed)
    views.show_stages(console, seconds)
    text = f"{path} ({format_bytes(path.stat().st_size)}), verified, digest {plan.digest[:12]}"
    views.row(console, "plan", text, style="bold green")
