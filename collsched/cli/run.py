"""`collsched run`: execute a plan and compare every element with numpy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from collsched.cli._common import Progress, console, json_option, print_json, progress

if TYPE_CHECKING:
    from collsched.plan import Plan
    from collsched.runtime.check import Case, Row


@click.command("run")
@click.argument("path", metavar="PLAN")
@click.option("--engine", default="auto", show_default=True, metavar="ENGINE", help="auto, shm, mpi, nccl or cuda.")
@click.option("--size", "sizes", multiple=True, metavar="SIZE", help="Bytes of the buffer; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, metavar="TYPE", help="Such as bfloat16; may be repeated.")
@click.option("--op", default="sum", show_default=True, metavar="OP", help="sum, prod, min, max or avg.")
@click.option("--iterations", default=3, show_default=True, metavar="N", help="Calls a case; their median counts.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a rank may wait for another (60, and more from hundreds of ranks on).",
)
@json_option
def run_command(
    path: str,
    engine: str,
    sizes: tuple[str, ...],
    dtypes: tuple[str, ...],
    op: str,
    iterations: int,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Verify a plan, execute it with one process a rank, and check every element.

    The shm engine starts the ranks, on this machine; so do nccl and cuda, outside of a launcher. For mpi, and several
    machines, a launcher does: mpirun -n N collsched run PLAN.
    Without --size and --dtype: several element types, no element, one, a prime number of them, and more. The exit code
    is 1 if any element is wrong.
    """
    from collsched.cli._start import launched, start_on_gpus
    from collsched.plan import Plan
    from collsched.runtime import require_engine
    from collsched.runtime.check import default_cases
    from collsched.units import parse_size

    engine = require_engine(engine)
    cases = default_cases(op, dtypes, [parse_size(size) for size in sizes])
    plan = Plan.load(path)
    if op != "sum" and not plan.collective.kind.reduces:
        raise click.UsageError(f"--op {op} does not apply: {plan.collective.kind} reduces nothing")
    plan.verify()  # a plan that is wrong is refused, not executed
    if engine in ("nccl", "cuda") and not launched():
        return start_on_gpus(click.get_current_context(), engine, len(plan.topology.ranks))
    # Processes start one after the other, and share the cores.
    timeout = timeout or 60 + len(plan.topology.ranks) / 4
    rows: list[Row] = []
    shown: Progress | None = None
    with contextlib.ExitStack() as stack:
        results, prints = _results(plan, cases, engine, iterations, timeout, stack)
        for row in results:
            # Only now: the ranks are forked before there is a second thread.
            if shown is None and prints:
                shown = stack.enter_context(progress())
            rows.append(row)
            if shown is not None:
                shown(f"{plan.collective.kind} on {len(plan.topology.ranks)} ranks")
    wrong = sum(row.wrong for row in rows)
    if prints and as_json:
        print_json(_as_json(plan, engine, rows))
    elif prints:
        _print(plan, engine, rows, wrong)
    return 1 if wrong else 0


def _results(
    plan: Plan, cases: list[Case], engine: str, iterations: int, timeout: float, stack: contextlib.ExitStack
) -> tuple[Iterator[Row], bool]:
    """The rows as they come in, and whether this process prints them: of ranks started here, or of those to which a
    launcher added this process."""
    from collsched.runtime import connect, tuning
    from collsched.runtime.check import run_plan
    from collsched.runtime.check_launched import run_launched

    sizes = tuning(engine)(timeout=timeout)
    if engine == "shm":
        results = run_plan(plan, cases, iterations=iterations, tuning=sizes)
        return stack.enter_context(contextlib.closing(results)), True
    communicator = stack.enter_context(connect(plan, engine, sizes))
    return run_launched(communicator, plan, cases, iterations=iterations), communicator.rank == 0


def _algbw(row: Row) -> float | None:
    return row.case.bytes / row.seconds / 1e9 if row.case.bytes and row.seconds > 0 else None


def _as_json(plan: Plan, engine: str, rows: list[Row]) -> dict[str, Any]:
    return {
        "collective": str(plan.collective.kind),
        "ranks": len(plan.topology.ranks),
        "engine": engine,
        "digest": plan.digest,
        "wrong": sum(row.wrong for row in rows),
        "rows": [
            {
                "collective": str(plan.collective.kind),
                "dtype": row.case.dtype,
                "op": row.case.op,
                "elements": row.case.elements,
                "bytes": row.case.bytes,
                "values": row.case.values,
                "wrong": row.wrong,
                "seconds": row.seconds,
                "algbw_GBps": _algbw(row),
            }
            for row in rows
        ],
    }


def _print(plan: Plan, engine: str, rows: list[Row], wrong: int) -> None:
    from rich import box
    from rich.table import Table

    from collsched.units import format_bytes, format_seconds

    kind, ranks = plan.collective.kind, len(plan.topology.ranks)
    table = Table(box=box.SIMPLE_HEAD, title=f"{kind} on {ranks} rank{'s' * (ranks != 1)}, engine {engine}")
    for name in ("dtype", "values", "elements", "bytes", "wrong", "measured", "algbw GB/s"):
        table.add_column(name, justify="left" if name in ("dtype", "values") else "right")
    for row in rows:
        rate = _algbw(row)
        table.add_row(
            row.case.dtype,
            row.case.values,
            f"{row.case.elements:,}",
            format_bytes(row.case.bytes),
            f"{row.wrong:,}",
            format_seconds(row.seconds),
            "–" if rate is None else "< 0.001" if rate < 0.001 else f"{rate:.3f}",
            style="red" if row.wrong else None,
        )
    out = console()
    out.print(table)
    out.print("every element is right" if not wrong else f"{wrong:,} elements are wrong")
