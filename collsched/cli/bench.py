"""`collsched bench`: a plan beside the libraries that do the same, measured in turns in the same processes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common
from collsched.errors import CollschedError, EngineError, InputError

if TYPE_CHECKING:
    from collsched.bench.ranks import Job, Message
    from collsched.bench.sweep import Sweep
    from collsched.runtime.launchers import Peers

_SWEEP = (
    click.option("-b", "--minbytes", "first", default="1KiB", show_default=True, metavar="SIZE", help="First size."),
    click.option("-e", "--maxbytes", "last", default="256MiB", show_default=True, metavar="SIZE", help="Last size."),
    click.option("-f", "--stepfactor", "factor", default=4.0, show_default=True, metavar="FACTOR",
                 help="From one size to the next."),
    click.option("-n", "--iters", "iterations", default=20, show_default=True, metavar="N", help="Timed calls."),
    click.option("-w", "--warmup_iters", "warmup", default=5, show_default=True, metavar="N",
                 help="Calls before them that do not count."),
    click.option("-c", "--check", type=click.Choice(["0", "1"]), default="1", show_default=True,
                 help="Compare every element with numpy."),
    click.option("-d", "--dtype", "dtype", default="float32", show_default=True, metavar="TYPE",
                 help="Element type, such as bfloat16."),
    click.option("-o", "--op", "op", default="sum", show_default=True, metavar="OP",
                 help="sum, prod, min, max or avg."),
    click.option("-R", "--local_register", "registered", type=click.Choice(["0", "1"]), default="0",
                 show_default=True, help="1: buffers of comm.empty(), for all sides."),
    click.option("--both", "placement", flag_value="both", default=True, help="Out of place and in place (default)."),
    click.option("--out-of-place", "placement", flag_value="out"),
    click.option("--in-place", "placement", flag_value="in"),
)  # fmt: skip


def sweep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is measured, in the letters of nccl-tests."""
    for option in reversed(_SWEEP):
        command = option(command)
    return command


@click.command("bench", short_help="Measure a plan beside MPI, gloo or NCCL.")
@click.argument("path", metavar="PLAN")
@click.option("--engine", default="auto", show_default=True, metavar="ENGINE", help="auto, shm, mpi, nccl or cuda.")
@click.option("--baseline", "baselines", multiple=True, metavar="NAME",
              help="auto (default: what is found), mpi, gloo, nccl or none; may be repeated.")  # fmt: skip
@sweep_options
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Timeline of a call, for Perfetto.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="One page with curves and tables.")
@click.option("--csv", "samples", type=click.Path(path_type=Path), metavar="FILE", help="All samples of all ranks.")
@click.option("--require-win", is_flag=True, help="Exit with 1 if a baseline is faster at any size.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=300.0, show_default=True,
              metavar="SECONDS", help="How long a rank may wait for another.")  # fmt: skip
@common.json_option
def bench_command(path: str, engine: str, baselines: tuple[str, ...], **options: Any) -> int:
    """Measure PLAN on this machine, or on the ranks that mpirun or torchrun started, beside other libraries.

    \b
    collsched bench plan.cs                            ranks forked here; beside gloo
    mpirun -n 8 collsched bench plan.cs                beside MPI, and gloo if torch is there
    torchrun --nproc-per-node 8 --no-python collsched bench plan.cs

    All sides work in the same processes on the same buffers and take turns; results are compared with numpy. Times are
    those of the slowest rank. The exit code is 1 if an element is wrong.
    """
    from collsched.bench.baselines import parse
    from collsched.bench.ranks import Job
    from collsched.plan import Plan
    from collsched.runtime import peers, require_engine

    sweep, names = _sweep(options), parse(baselines)
    for file in (options["trace"], options["html"], options["samples"]):
        _check_writable(file)
    plan = Plan.load(path)
    if sweep.op != "sum" and not plan.collective.kind.reduces:
        raise click.UsageError(f"--op {sweep.op} does not apply: {plan.collective.kind} reduces nothing")
    plan.verify()  # a plan that is wrong is refused, not measured
    engine = require_engine(engine)
    found = peers.find()
    if found is None and engine != "shm":
        ranks = len(plan.topology.ranks)
        raise InputError(
            f"--engine {engine} needs ranks that a launcher started: mpirun -n {ranks} collsched bench …, or "
            f"torchrun --nproc-per-node {ranks} --no-python collsched bench …"
        )
    job = Job(plan, engine, names, sweep, options["timeout"], options["trace"])
    if found is None:
        return _forked(path, job, options)
    return _launched(path, job, found, options)


def _forked(path: str, job: Job, options: dict[str, Any]) -> int:
    from importlib.util import find_spec

    from collsched.bench.ranks import forked

    if {"auto", "gloo"} & set(job.baselines) and find_spec("torch"):
        import torch.distributed  # noqa: F401  once, and not in every rank
    with contextlib.closing(forked(job)) as messages:
        return _report(path, job, messages, options)


def _launched(path: str, job: Job, found: Peers, options: dict[str, Any]) -> int:
    from collsched.bench.ranks import launched

    try:
        messages = launched(job, found)
        if found.rank == 0:
            return _report(path, job, messages, options)
        for _ in messages:
            pass
    except EngineError as error:
        _leave(found, error)
        raise
    except CollschedError as error:
        if found.rank == 0:
            raise
        return error.exit_code  # all ranks found it, and rank 0 says it
    return 0


def _leave(found: Peers, error: EngineError) -> None:
    """End an MPI job: at its usual end MPI would wait for ranks that are stuck in a collective."""
    import time

    if found.launcher != "mpirun":
        return
    from mpi4py import MPI

    if found.rank:
        time.sleep(2.0)  # rank 0 knows best; if it is gone, this one speaks
    click.echo(f"error: {error}", err=True)
    MPI.COMM_WORLD.Abort(error.exit_code)


def _report(path: str, job: Job, messages: Iterator[Message], options: dict[str, Any]) -> int:
    """Print what comes, write the files, and judge."""
    from collsched.bench.results import matches
    from collsched.cli._bench import Report

    report = Report(path, job, quiet=options["as_json"])
    with contextlib.ExitStack() as stack:
        shown: common.Progress | None = None
        for message in messages:
            # Only now: the ranks are forked before there is a second thread.
            if shown is None and options["as_json"]:
                shown = stack.enter_context(common.progress())
            report.take(message)
            if shown is not None:
                shown(f"{job.plan.collective.kind}, {len(report.measured):,} rows")
    report.finish(html=options["html"], samples=options["samples"])
    if options["as_json"]:
        common.print_json(report.as_json())
    wrong = any(one.wrong for one in report.measured)
    lost = options["require_win"] and any(match.lost for match in matches(report.measured))
    if lost:
        click.echo("--require-win: a baseline is faster at some size", err=True)
    return 1 if wrong or lost else 0


def _sweep(options: dict[str, Any]) -> Sweep:
    from collsched.bench.sweep import Sweep, spaced

    placements = {"both": (False, True), "out": (False,), "in": (True,)}
    first, last = _size(options["first"]), _size(options["last"])
    if not common.is_given("last"):
        last = max(first, last)
    return Sweep(
        sizes=spaced(first, last, options["factor"]),
        dtype=options["dtype"],
        op=options["op"],
        placements=placements[options["placement"]],
        iterations=options["iterations"],
        warmup=options["warmup"],
        check=options["check"] == "1",
        registered=options["registered"] == "1",
    )


def _size(text: str) -> int:
    """As everywhere, and 8, 4K, 1M, 1G as nccl-tests takes them."""
    from collsched.units import parse_size

    short = re.fullmatch(r"(\d+)([KMGkmg])", text)
    return parse_size(f"{short[1]}{short[2].upper()}iB" if short else text)


def _check_writable(path: Path | None) -> None:
    """Before minutes of measurement, not after. Raises InputError."""
    import os

    if path is None:
        return
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{path}: cannot be written; allowed is a file in a folder that exists; choose another")
