"""`collsched route`: which flow takes which path, on fabrics where a flow keeps one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common
from collsched.cli._route_pins import pin_file, pin_texts, read_book
from collsched.cli._route_sources import gather, parse_failed
from collsched.cli._routes import (
    Request,
    Work,
    plan_all,
    replan_file,
    show,
    summary,
    texts,
)
from collsched.errors import InputError

if TYPE_CHECKING:
    from collsched.routes.planner import Mode


@click.command("route", short_help="Plan which flow takes which path, with few splits.")
@click.argument("source", metavar="TOPO|PLAN")
@common.set_option
@click.option("--flows", "flows_file", metavar="FILE", help="JSON or CSV of flows: src, dst, bytes.")
@click.option("--algorithm", metavar="NAME", help="Flows of ring, halving-doubling, direct or double-binary-tree.")
@click.option("--group", metavar="RANKS", help="Ranks of the algorithm, in its order, such as 0-7,12; all by default.")
@click.option("--stride", type=int, default=1, show_default=True, help="Take the ranks in steps of this many.")
@common.size_option("The algorithm's or the plan's buffer.")
@click.option(
    "--mode",
    type=click.Choice(["nosplit", "exact", "epsilon", "per-source"]),
    default="exact",
    show_default=True,
    help="exact: as good as ideal spraying, with few pieces.",
)
@click.option("--epsilon", default="0.05", show_default=True, metavar="E", help="Mode epsilon: (1 + E) times spraying.")
@click.option("--max-pieces", type=int, metavar="N", help="Mode epsilon: no more subflows than this.")
@click.option(
    "--failed", multiple=True, metavar="SRC:DST[=GB/s]", help="A link that is out, or slower, one way; may be repeated."
)
@click.option("--replan", "replan_from", metavar="ROUTES", help="Mend these routes for what --failed has changed.")
@click.option(
    "--sent", default="0", show_default=True, metavar="SHARE", help="With --replan: what of each subflow is done."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random hashes of ECMP.")
@click.option(
    "--pin", type=click.Choice(["roce", "ip", "srv6"]), help="Also write, beside ROUTES, what pins the paths there."
)
@click.option("--addresses", metavar="FILE", help="JSON, node name → address, for --pin.")
@click.option("--hash", "hash_name", type=click.Choice(["crc32", "crc16"]), help="The switches' hash, for --pin roce.")
@click.option("-o", "--output", metavar="ROUTES", help="The routes file; by default TOPOLOGY-routes.json, here.")
@common.force_option
@common.json_option
def route_command(
    source: str,
    settings: tuple[str, ...],
    failed: tuple[str, ...],
    replan_from: str | None,
    sent: str,
    mode: Mode,
    epsilon: str,
    max_pieces: int | None,
    seed: int,
    pin: str | None,
    addresses: str | None,
    hash_name: str | None,
    output: str | None,
    force: bool,
    as_json: bool,
    **which: Any,  # flows_file, algorithm, group, stride, size: where flows come from
) -> int:
    """Plan a path for every flow so that the fullest link is as empty as under ideal packet spraying, cutting few
    flows.

    The flows are those of a PLAN's phases, of an --algorithm on TOPO, or of a file. Every routing is checked before it
    is written. The exit code is 1 if the mode's promise cannot be kept.

    \b
    collsched route fat-tree --set boxes=16 --algorithm ring --stride 8
    collsched route ./fabric.yaml --flows flows.csv --mode nosplit --failed leaf0:spine3 -o routes.json
    """
    from collsched.routes.files import check_target, write_text
    from collsched.units import parse_number

    with common.progress() as progress:
        progress("reading")
        topology, phases = gather(source, settings, needed=replan_from is None, **which)
        rates = parse_failed(topology, failed)
        path = common.default_output(topology, "routes", ".json") if output is None else Path(output)
        check_target(path, force=force)
        book = read_book(addresses, topology)
        if pin is not None and not force and pin_file(path, pin).exists():
            raise InputError(
                f"{pin_file(path, pin)}: exists; choose another name with -o, or pass --force to replace it"
            )
        request = Request(mode, parse_number(epsilon), max_pieces, rates, seed)
        progress("planning")
        work: Work
        if replan_from is None:
            work = plan_all(topology, phases, request)
        else:
            work = replan_file(topology, replan_from, request, parse_number(sent))
        progress("writing")
        pinned = None
        if pin is not None:
            phases_done = [(done.plan.network, done.plan.subflows) for done in work.phases]
            pinned = "".join(pin_texts(phases_done, pin, book, hash_name))  # whole before anything is written
        write_text(path, texts(topology, work, mode), force=force)
        if pin is not None and pinned is not None:
            write_text(pin_file(path, pin), [pinned], force=True)
    if as_json:
        common.print_json(summary(work, path, mode))
    else:
        show(common.console(), topology, work, path)
    return 0 if work.kept else 1
