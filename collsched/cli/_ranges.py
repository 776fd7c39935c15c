"""How the verbs show a plan's ranges of sizes, and what each was chosen from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from collsched.cli import _views as views

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.plan import Plan

MOST_CANDIDATES = 6  # shown for a size; all of them with --json


def ranges_of(plan: Plan) -> list[dict[str, Any]]:
    """One object a range, in ascending order: `upto` bytes (null: no end), algorithm, variant, shape, tree depth."""
    found = []
    for part in plan.ranges:
        single = plan.at(plan.size if part.upto is None else part.upto)
        found.append(
            {
                "upto": part.upto,
                "algorithm": single.options.get("algorithm"),
                "variant": single.options.get("variant"),
                "segments": part.shape.segments,
                "pacing": part.shape.pacing,
                "depth_max": max(forest.depth_max for forest in single.report.forests),
            }
        )
    return found


def candidates_of(plan: Plan) -> dict[str, Any]:
    """Ranges and the candidates' simulated times, if the plan was chosen by them."""
    if not plan.ranges:
        return {}
    return {"ranges": ranges_of(plan), "candidates": _candidates(plan)}


def show_ranges(console: Console, plan: Plan) -> None:
    """One row a range: up to which size, what runs."""
    from collsched.units import format_bytes

    for number, part in enumerate(ranges_of(plan)):
        until = "larger" if part["upto"] is None else f"to {format_bytes(part['upto'])}"
        if len(plan.ranges) == 1:
            until = "all sizes"
        views.row(console, "" if number else "chosen", f"{until}: {describe(part)}")


def describe(part: Mapping[str, Any]) -> str:
    """`hierarchical (2x8, ring between), 8 segments, timetable`."""
    text = str(part.get("algorithm"))
    if part.get("variant"):
        text += f" ({part['variant']})"
    text += f", {views.plural(int(part.get('segments', 1)), 'segment')}"
    pacing = part.get("pacing", "none")
    return text if pacing == "none" else f"{text}, {pacing}"


def show_candidates(console: Console, plan: Plan) -> None:
    """What was considered at each size and how long it takes in simulation, the fastest first."""
    if not plan.ranges:
        return
    from collsched.units import format_bytes, format_seconds

    show_ranges(console, plan)
    by_size: dict[int, list[Mapping[str, Any]]] = {}
    for row in _candidates(plan):
        by_size.setdefault(row["bytes"], []).append(row)
    for nbytes, rows in by_size.items():
        views.row(console, "considered", f"at {format_bytes(nbytes)}, simulated:")
        simulated = [row for row in rows if "seconds" in row]
        for row in simulated[:MOST_CANDIDATES]:
            views.row(console, "", f"  {format_seconds(row['seconds'])}  {describe(row)}")
        left = len(rows) - len(simulated[:MOST_CANDIDATES])
        if left:
            views.row(console, "", f"  and {views.plural(left, 'other')}, slower or not simulated (--json has all)")


def _candidates(plan: Plan) -> Sequence[Mapping[str, Any]]:
    """The rows of the provenance that are well formed: a plan file's provenance is not verified."""
    rows = plan.provenance.get("candidates")
    if not isinstance(rows, list):
        return []
    return [
        row
        for row in rows
        if isinstance(row, dict)
        and type(row.get("bytes")) is int
        and isinstance(row.get("seconds", 0.0), float | int)
        and type(row.get("segments", 1)) is int
    ]
