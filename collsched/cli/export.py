"""`collsched export`: a plan's schedule in another format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common
from collsched.errors import InputError

if TYPE_CHECKING:
    from collsched.cli._runtimes import Progress, Summary, Wish
    from collsched.plan import Plan

# What is appended to PLAN's name without its suffix, and the options that only some formats have.
_TARGETS = {"transfers": "", "msccl-xml": ".xml", "mscclpp-json": ".json", "chakra": "-chakra"}
_ONLY = {
    "profile": ("msccl-xml",),
    "protocol": ("msccl-xml",),
    "channels": ("msccl-xml",),
    "blocks": ("mscclpp-json",),
    "in_place": ("msccl-xml", "mscclpp-json"),
    "sizes": ("msccl-xml", "mscclpp-json"),
    "label": ("msccl-xml", "mscclpp-json"),
}
_OPTIONS = {"in_place": "--in-place", "sizes": "--bytes", "label": "--name"}


@click.command("export", short_help="Write a plan's schedule in another format.")
@click.argument("plan_path", metavar="PLAN")
@click.option(
    "--to", "target", type=click.Choice(tuple(_TARGETS)), default="transfers", show_default=True, help="Format."
)
@click.option(
    "-o", "--output", metavar="OUT", help="File (msccl-xml, mscclpp-json) or directory to write; after PLAN by default."
)
@click.option("--size", metavar="BYTES", help="Bytes of the whole buffer, such as 64MiB; the plan's own by default.")
@click.option(
    "--segments",
    type=int,
    metavar="N",
    help="Pipeline pieces of every chunk. Default: transfers and chakra "
    "the plan's own, msccl-xml 1, mscclpp-json as many of the plan's as fit.",
)
@click.option(
    "--profile",
    type=click.Choice(("msccl", "executor", "rccl")),
    help="Whose limits an MSCCL file keeps: microsoft/msccl, msccl-executor-nccl (default) or RCCL.",
)
@click.option("--protocol", type=click.Choice(("Simple", "LL", "LL128")), help="Of an MSCCL file; Simple by default.")
@click.option(
    "--channels", type=click.IntRange(1, 128), help="Of an MSCCL file, at least for every two ranks; 1 by default."
)
@click.option(
    "--blocks", type=click.IntRange(1, 104), help="Thread blocks of an MSCCL++ plan, at least; 16 by default."
)
@click.option("--in-place", is_flag=True, default=None, help="For calls in place; out of place by default.")
@click.option("--bytes", "sizes", metavar="MIN:MAX", help="Sizes of the buffer that a runtime shall use the file for.")
@click.option("--name", "label", help="Name of the algorithm in the file.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@common.json_option
def export_command(
    plan_path: str,
    target: str,
    output: str | None,
    size: str | None,
    segments: int | None,
    force: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Write the schedule of PLAN for other tools. Nothing is written that is not verified.

    \b
    transfers     topology.json and schedule.json, for checkers and simulators
    msccl-xml     an algorithm file, for MSCCL's interpreters
    mscclpp-json  an execution plan, for the executor of MSCCL++
    chakra        an execution trace a rank, for ASTRA-sim

    The last three are read back and executed symbolically before they appear.

    \b
    collsched export plan.cs --to transfers -o out --size 64MiB --segments 8
    collsched export plan.cs --to msccl-xml --profile rccl -o plan.xml
    """  # fmt: skip
    from collsched.cli._runtimes import Wish
    from collsched.plan import Plan
    from collsched.units import parse_size

    given = {name: value for name, value in choices.items() if value is not None}
    for name in given:
        if target not in _ONLY[name]:
            option = _OPTIONS.get(name, f"--{name}")
            raise InputError(f"{option} is not for {target}; leave it out, or choose --to {' or '.join(_ONLY[name])}")
    if segments is not None and segments < 1:
        raise InputError(f"--segments {segments}; a number from 1 on")
    if "sizes" in given:
        given["sizes"] = _sizes(given["sizes"])
    with common.progress() as progress:
        progress("reading the plan")
        plan = Plan.load(plan_path)
        wish = Wish(plan.size if size is None else parse_size(size), segments, force, **given)
        path = Path(output) if output is not None else _default(Path(plan_path), target)
        progress("verifying")
        _ = plan.report
        progress("writing")
        summary = _writer(target)(plan if target == "transfers" else plan.at(wish.size), path, wish, progress)
    if as_json:
        common.print_json({"format": target, **summary, "verified": True})
    else:
        _show(target, summary)


def _writer(target: str) -> Callable[[Plan, Path, Wish, Progress], Summary]:
    from collsched.cli import _runtimes

    return {
        "transfers": _transfers,
        "msccl-xml": _runtimes.export_msccl_xml,
        "mscclpp-json": _runtimes.export_mscclpp_json,
        "chakra": _runtimes.export_chakra,
    }[target]


def _transfers(plan: Plan, directory: Path, wish: Wish, progress: Progress) -> Summary:
    from collsched.export.transfers import FILES, write_transfers

    pieces = plan.at(wish.size).segments if wish.segments is None else wish.segments
    count = write_transfers(plan, directory, wish.size, wish.segments, force=wish.force)
    return {
        "files": [str(directory / name) for name in FILES],
        "bytes": wish.size,
        "segments": pieces,
        "transfers": count,
    }


def _sizes(text: str) -> tuple[int, int]:
    from collsched.units import parse_size

    first, colon, last = text.partition(":")
    if not colon:
        raise InputError(f"--bytes {text!r}; expected MIN:MAX, such as 1MiB:1GiB")
    low, high = parse_size(first), parse_size(last)
    if low > high:
        raise InputError(f"--bytes {text!r}; the smallest size comes first")
    return low, high


def _default(plan: Path, target: str) -> Path:
    if target == "transfers":
        return plan.with_suffix("") if plan.suffix else plan.with_name(f"{plan.name}-transfers")
    return plan.with_name(plan.stem + _TARGETS[target])


def _show(target: str, summary: Summary) -> None:
    from collsched.cli import _views as views
    from collsched.units import format_bytes

    console = common.console()
    moved = views.plural(summary["transfers"], "transfer")
    if "units" in summary:
        place = "in place" if summary["in_place"] else "out of place"
        views.row(
            console, "exported", f"{moved} of {views.plural(summary['units'], 'unit')}, {place}, read back and verified"
        )
        blocks = views.plural(summary["blocks"], "thread block")
        if target == "msccl-xml":
            inside = views.plural(summary["steps"], "step")
            inside += f", {views.plural(summary['channels'], 'channel')}"
        else:
            inside = views.plural(summary["operations"], "operation")
        views.row(console, "program", f"at most {blocks} a rank and {inside}")
        if target == "msccl-xml":
            views.row(console, "sizes", f"calls of a multiple of {views.plural(summary['count_multiple'], 'element')}")
        else:
            views.row(console, "sizes", f"buffers of a multiple of {views.plural(summary['byte_multiple'], 'byte')}")
    else:
        read_back = ", read back" if target == "chakra" else ""
        views.row(console, "exported", f"{moved} for {format_bytes(summary['bytes'])}{read_back}, verified")
    shown = summary["files"] if len(summary["files"]) <= 4 else [*summary["files"][:2], "…", summary["files"][-1]]
    for name in shown:
        views.row(console, "", name)
