"""`compile --paths`: paths planned anew, or what becomes of a plan on a fabric that hashes or sprays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from collsched.cli import _views as views
from collsched.plan.paths import Comparison, PathMode, compare, pinned
from collsched.units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.plan import Plan


def apply_paths(plan: Plan, mode: PathMode, seed: int) -> tuple[Plan, dict[str, Any] | None]:
    """The plan to write, and what `--json` prints about its paths (null for auto)."""
    if mode == "auto":
        return plan, None
    if mode == "pinned":
        found = pinned(plan)
        return found, _of_pinned(plan, found)
    return plan, _of_comparison(mode, compare(plan, mode, seed))


def _of_pinned(before: Plan, after: Plan) -> dict[str, Any]:
    changed = any(new is not old for new, old in zip(after.forests, before.forests, strict=True))
    return {
        "mode": "pinned",
        "changed": changed,
        "ratio_before": str(before.report.ratio),
        "ratio": str(after.report.ratio),
        "trees_before": sum(forest.trees for forest in before.report.forests),
    }


def _of_comparison(mode: PathMode, found: Comparison) -> dict[str, Any]:
    value: dict[str, Any] = {"mode": mode, "alternatives": found.paths, "segments": found.segments}
    value["pinned_seconds"] = found.pinned
    if found.hashed is not None:
        hashed = found.hashed
        value["ecmp_seconds"] = {
            "mean": hashed.mean, "p99": hashed.p99, "stderr": hashed.stderr, "trials": hashed.trials
        }  # fmt: skip
    else:
        value["spray_seconds"] = found.sprayed
    return value


def show_paths(console: Console, value: dict[str, Any] | None) -> None:
    """A row or two of the table of `compile`."""
    if value is None:
        return
    if value["mode"] == "pinned":
        text = "planned anew, pinned" if value["changed"] else "pinned as packed: planning them anew gains nothing"
        views.row(console, "paths", text)
        if value["changed"]:
            ratios = f"ratio {value['ratio_before']} before, {value['ratio']} now"
            views.row(console, "", f"{ratios}; {views.plural(value['trees_before'], 'tree')} before")
        return
    own = format_seconds(value["pinned_seconds"])
    if value["alternatives"] == 1:
        views.row(console, "paths", f"one between any two ports, whoever chooses: {own} simulated")
        return
    views.row(console, "paths", f"pinned as planned: {own} simulated, {views.plural(value['segments'], 'segment')}")
    if value["mode"] == "ecmp":
        hashed = value["ecmp_seconds"]
        times, last = (format_seconds(hashed[key]) for key in ("mean", "p99"))
        draws = views.plural(hashed["trials"], "draw")
        views.row(console, "", f"by hash, up to {value['alternatives']} choices: {times}, 99 % {last}, {draws}")
    else:
        sprayed = format_seconds(value["spray_seconds"])
        views.row(console, "", f"sprayed over up to {value['alternatives']} paths: {sprayed}")
