"""`collsched export`: a plan's schedule in another format."""

from __future__ import annotations

from pathlib import Path

import click

from collsched.cli import _common as common


@click.command("export", short_help="Write a plan's schedule in another format.")
@click.argument("plan_path", metavar="PLAN")
@click.option(
    "--to", "target", type=click.Choice(["transfers"]), default="transfers", show_default=True, help="Format."
)
@click.option("-o", "--output", metavar="DIR", help="Directory to write to; PLAN's name without its suffix by default.")
@click.option("--size", metavar="BYTES", help="Bytes of the whole buffer, such as 64MiB; the plan's own by default.")
@click.option("--segments", type=int, metavar="N", help="Pipeline pieces of every chunk; the plan's own by default.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@common.json_option
def export_command(
    plan_path: str, target: str, output: str | None, size: str | None, segments: int | None, force: bool, as_json: bool
) -> None:
    """Write the schedule of PLAN as plain transfers: topology.json and schedule.json in DIR.

    The plan and the pieces it is cut into are verified before anything is written.

    \b
    collsched export plan.cs --to transfers -o out --size 64MiB --segments 8
    """
    from collsched.export.transfers import FILES, write_transfers
    from collsched.plan import Plan
    from collsched.units import format_bytes, parse_size

    with common.progress() as progress:
        progress("reading the plan")
        plan = Plan.load(plan_path)
        nbytes = plan.size if size is None else parse_size(size)
        pieces = plan.at(nbytes).segments if segments is None else segments
        directory = _default_directory(Path(plan_path)) if output is None else Path(output)
        progress("verifying")
        _ = plan.report
        progress("writing")
        transfers = write_transfers(plan, directory, nbytes, segments, force=force)
    files = [str(directory / name) for name in FILES]
    if as_json:
        common.print_json(
            {
                "format": target,
                "files": files,
                "bytes": nbytes,
                "segments": pieces,
                "transfers": transfers,
                "verified": True,
            }
        )
        return
    from collsched.cli import _views as views

    console = common.console()
    views.row(console, "exported", f"{views.plural(transfers, 'transfer')} for {format_bytes(nbytes)}, verified")
    for name in files:
        views.row(console, "", name)


def _default_directory(plan: Path) -> Path:
    return plan.with_suffix("") if plan.suffix else plan.with_name(f"{plan.name}-transfers")
