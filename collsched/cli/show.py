"""`collsched show`: a fabric or a plan as a picture: in the terminal, as a page, as a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common
from collsched.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.cli._limits import Limit
    from collsched.cli._show import Times
    from collsched.plan import Plan
    from collsched.topology.model import Topology

MOST_KINDS = 4  # of trees, in the terminal
MOST_BRANCHES = 16  # lines of an outline
METER = 24  # columns


@click.command("show", short_help="Pictures of a topology or a plan.")
@click.argument("subject", metavar="TOPO|PLAN")
@common.set_option
@click.option("--html", metavar="FILE", help="Write one page that draws it, for any browser, without a network.")
@click.option("--trace", metavar="FILE", help="Write a plan's timeline as Chrome trace events, for Perfetto.")
@click.option("--size", metavar="BYTES", help="Buffer that a plan moves; the size it was made for by default.")
@click.option("--simulate", is_flag=True, help="Simulate large plans too, for which a closed form is used otherwise.")
@common.json_option
def show_command(
    subject: str,
    settings: tuple[str, ...],
    html: str | None,
    trace: str | None,
    size: str | None,
    simulate: bool,
    as_json: bool,
) -> None:
    """Draw TOPO or PLAN: how the fabric is built, the bottleneck, the trees, how full links are, and how long it takes.

    \b
    collsched show dgx-a100 --set boxes=4
    collsched show plan.cs --html plan.html
    collsched show plan.cs --trace plan.json
    """
    from collsched.plan import is_plan

    written = {name: _target(path) for name, path in (("html", html), ("trace", trace)) if path is not None}
    if is_plan(Path(subject)):
        _show_plan(subject, settings, size, simulate=simulate, as_json=as_json, written=written)
        return
    topology = common.load_topology(subject, settings)
    for name, value in (("trace", trace), ("size", size), ("simulate", simulate)):
        if value:
            raise InputError(f"--{name} does not apply to a topology, in which nothing moves; name a plan")
    if "html" in written:
        from collsched.files import write_whole
        from collsched.report.page import page
        from collsched.report.payload import payload

        with common.progress() as progress:
            progress("drawing")
            write_whole(written["html"], [page(payload(topology))])
    if as_json:
        common.print_json(_fabric(topology) | _paths(written))
        return
    console = common.console()
    _draw_fabric(console, topology)
    _say_written(console, written)


def _target(path: str) -> Path:
    """Where a picture may be written: anywhere but over a plan or a directory."""
    from collsched.plan import is_plan

    target = Path(path)
    if target.is_dir() or is_plan(target):
        what = "a directory" if target.is_dir() else "a plan"
        raise InputError(f"{path}: is {what}; allowed is a file to replace or a new one; choose another name")
    return target


def _show_plan(
    path: str,
    settings: tuple[str, ...],
    size: str | None,
    *,
    simulate: bool,
    as_json: bool,
    written: Mapping[str, Path],
) -> None:
    from collsched.cli._limits import plan_limit
    from collsched.cli._show import compare, story
    from collsched.files import write_whole
    from collsched.plan import Plan
    from collsched.report.page import page
    from collsched.report.payload import payload
    from collsched.report.trace import trace
    from collsched.units import parse_size

    if settings:
        raise InputError("--set does not apply to a plan, which has its own topology; leave it out, or name a topology")
    with common.progress() as progress:
        progress("verifying the plan")
        whole = Plan.load(path)
        _ = whole.report
        nbytes = whole.size if size is None else parse_size(size)
        plan = whole.at(nbytes)  # of a plan with several ranges, what moves this size
        proven = plan_limit(plan)
        times = compare(whole, nbytes, all_sizes="html" in written, simulate=simulate, progress=progress)
        if "html" in written:
            progress("drawing the page")
            write_whole(written["html"], [page(payload(plan.topology, story(plan, proven, times)))])
        if "trace" in written:
            progress("writing the trace")
            traced = trace(plan.topology, times.bounded(plan), str(plan.collective.kind))
            write_whole(written["trace"], [traced.text])
    if as_json:
        common.print_json(_summary(plan, proven, times) | _paths(written))
        return
    console = common.console()
    _draw_plan(console, plan, proven, times)
    _say_written(console, written)
    if "trace" in written and traced.shown < traced.senders:
        from collsched.cli._views import row

        row(console, "", f"{traced.spans:,} transfers: those of the first {traced.shown} senders")


def _draw_fabric(console: Console, topology: Topology) -> None:
    from collsched.cli import _views as views
    from collsched.report.sketch import sketch
    from collsched.report.structure import structure

    views.show_fabric(console, topology)
    for number, line in enumerate(sketch(structure(topology))):
        views.row(console, "" if number else "structure", line)


def _draw_plan(console: Console, plan: Plan, proven: Limit, times: Times) -> None:
    from collsched.cli import _views as views
    from collsched.cli._allreduce import show_plan_forests
    from collsched.cli._limits import show_limit
    from collsched.cli._show import senders_cost
    from collsched.units import format_bytes, format_seconds

    _draw_fabric(console, plan.topology)
    show_limit(console, plan.topology, proven)
    show_plan_forests(console, plan, proven)
    _draw_trees(console, plan)
    _draw_loads(console, plan)
    motion, size = times.motion, format_bytes(times.nbytes)
    if motion.seconds:
        rate = views.rate(times.nbytes / motion.seconds / 1e9)
        pieces = views.plural(motion.segments, "piece")
        views.row(console, motion.source, f"{format_seconds(motion.seconds)} for {size}, {rate}, {pieces} a chunk")
        if motion.source == "predicted":
            views.row(console, "", f"without what transfers cost their sender. {senders_cost(plan, motion)}")


def _draw_trees(console: Console, plan: Plan) -> None:
    """Kinds of trees of each forest, and one tree of the most frequent kind."""
    from collsched.cli import _views as views
    from collsched.collective import Kind
    from collsched.report.trees import outline, tree_kinds
    from collsched.topology.names import compress

    nodes = plan.topology.nodes
    for forest in plan.forests:
        one = "path" if plan.collective.kind is Kind.ALL_TO_ALL else f"{forest.direction}-tree"
        kinds = tree_kinds(plan.topology, forest)
        for number, kind in enumerate(kinds[:MOST_KINDS]):
            what = f"{kind.copies:,} × {one}" if kind.copies > 1 else f"1 {one}"
            crossed = ", ".join(f"{count:,} × {name}" for name, count in kind.crossings)
            views.row(console, "" if number else "trees", f"{what}, {views.plural(kind.depth, 'hop')} deep: {crossed}")
        if len(kinds) > MOST_KINDS:
            views.row(console, "", f"… and {len(kinds) - MOST_KINDS} more kinds")
    if not len(plan.forests[-1].roots) or not kinds:
        return
    forest, tree = plan.forests[-1], kinds[0].example
    views.row(console, "one of them", nodes[forest.roots[tree]].name, style="bold")
    more: list[bool] = []
    for number, branch in enumerate(outline(plan.topology, forest, tree)):
        if number == MOST_BRANCHES:
            views.row(console, "", "…")
            break
        more[branch.level :] = [not branch.last]
        lead = "".join("│  " if other else "   " for other in more[: branch.level]) + ("└─ " if branch.last else "├─ ")
        names = (
            views.members(plan.topology, branch.nodes)
            if len(branch.nodes) > 1
            else compress([nodes[branch.nodes[0]].name])
        )
        views.row(console, "", f"{lead}{names}   {branch.via}")


def _draw_loads(console: Console, plan: Plan) -> None:
    from rich.text import Text

    from collsched.cli import _views as views

    loads = _loads(plan)
    width = max((len(load["links"]) for load in loads), default=0)
    for number, load in enumerate(loads):
        full = round(load["mean"] * METER)
        line = Text().append(("" if number else "load").ljust(views.LABEL), style="cyan")
        line.append(f"{load['links']:<{width}}  ").append("━" * full, style="blue").append(
            "─" * (METER - full), style="dim"
        )
        console.print(line.append(f" {100 * load['mean']:.0f} %"))


def _say_written(console: Console, written: Mapping[str, Path]) -> None:
    from collsched.cli._views import row
    from collsched.units import format_bytes

    for name, path in written.items():
        row(console, {"html": "page"}.get(name, name), f"{path} ({format_bytes(path.stat().st_size)})")


def _paths(written: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in written.items()}


def _fabric(topology: Topology) -> dict[str, Any]:
    """What `--json` prints of a fabric; bandwidths in GB/s."""
    from collsched.report.kinds import link_kinds
    from collsched.report.structure import structure

    built = structure(topology)
    grid = built.grid
    return {
        "topology": topology.name,
        "ranks": len(topology.ranks),
        "hosts": len(built.hosts),
        "tiers": [[topology.nodes[node].name for node in tier] for tier in built.tiers],
        "grid": None if grid is None else {"dims": list(grid.dims), "wrap": list(grid.wrap)},
        "links": [
            {"ends": kind.ends, "bandwidth": common.number(kind.bandwidth), "count": len(kind.links)}
            for kind in link_kinds(topology)
        ],
    }


def _loads(plan: Plan) -> list[dict[str, Any]]:
    """For each kind of link the time its bytes need over that of the bottleneck."""
    from collsched.cli._views import rate
    from collsched.report.kinds import link_kinds
    from collsched.report.traffic import shares

    share = shares(plan)
    return [
        {
            "links": f"{kind.ends} {rate(kind.bandwidth)}",
            "mean": float(share[list(kind.links)].mean()),
            "max": float(share[list(kind.links)].max()),
        }
        for kind in link_kinds(plan.topology)
    ]


def _summary(plan: Plan, proven: Limit, times: Times) -> dict[str, Any]:
    from collsched.report.trees import tree_kinds

    cuts: Sequence[Any] = [phase.cut for phase in proven.phases]
    names = [node.name for node in plan.topology.nodes]
    return {
        **_fabric(plan.topology),
        "digest": plan.digest,
        "collective": plan.collective.kind.value,
        "bound": {
            "ratio": str(proven.bound.ratio),
            "algbw_GBps": common.algbw(proven.weight, proven.bound.ratio),
        },
        "forest": {"algbw_GBps": common.algbw(plan.weight, plan.report.ratio)},
        "cuts": [
            None if cut is None else
            {"side": [names[node] for node in cut.side], "exit_bandwidth": common.number(cut.exit_bandwidth)}
            for cut in cuts
        ],
        "trees": [
            {
                "phase": phase,
                "direction": forest.direction,
                "trees": kind.trees,
                "copies": kind.copies,
                "depth": kind.depth,
                "crosses": dict(kind.crossings),
                "example_root": names[forest.roots[kind.example]],
            }
            for phase, forest in enumerate(plan.forests)
            for kind in tree_kinds(plan.topology, forest)
        ],
        "loads": _loads(plan),
        "time": {
            "bytes": times.nbytes,
            "source": times.motion.source,
            "seconds": times.motion.seconds,
            "segments": times.motion.segments,
        },
    }  # fmt: skip
