"""What `collsched route` does: where flows come from, a plan for each phase, and its numbers for people and
programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collsched.cli import _views as views
from collsched.errors import InputError
from collsched.routes.ecmp import PATHS, Expectation, expectations
from collsched.routes.files import Routed, read_routes, routes_lines
from collsched.routes.model import Flows, PathTable, Phase, Subflows
from collsched.routes.network import Network
from collsched.routes.placement import advise
from collsched.routes.planner import Mode, RoutePlan, answer, check, plan_flows
from collsched.routes.replan import replan
from collsched.topology.model import Topology
from collsched.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import Console


MOST_ADVISED = 200_000  # flows for which another placement is looked for
NOTHING = 1.02  # times the plan's congestion; hashing that near leaves nothing to gain


@dataclass(frozen=True, slots=True)
class Request:
    """How to plan."""

    mode: Mode
    epsilon: Fraction
    max_pieces: int | None
    failed: Mapping[int, Fraction]
    seed: int


@dataclass(frozen=True, slots=True)
class Done:
    """A phase and its routing."""

    name: str
    plan: RoutePlan
    ecmp: Mapping[int, Expectation]


@dataclass(frozen=True, slots=True)
class Work:
    """All phases, one after the other; of a re-plan, how many subflows it changed."""

    phases: Sequence[Done]
    moved: int | None = None
    least_moved: int = 0

    @property
    def kept(self) -> bool:
        return all(done.plan.kept for done in self.phases)


def plan_all(topology: Topology, phases: Sequence[Phase], request: Request) -> Work:
    """A routing for each phase."""
    done = []
    for phase in phases:
        if not len(phase.flows):
            continue
        plan = plan_flows(
            topology,
            phase.flows,
            mode=request.mode,
            epsilon=request.epsilon,
            max_pieces=request.max_pieces,
            failed=request.failed,
        )
        done.append(Done(phase.name, plan, expectations(plan.network, request.seed)))
    return Work(done)


def replan_file(topology: Topology, path: str, request: Request, sent: Fraction) -> Work:
    """Routes of a file, mended for the links that have changed since, once a share `sent` of each subflow has
    arrived."""
    if not request.failed:
        raise InputError("--replan without --failed; allowed is one failed link at least; name it")
    if not 0 <= sent <= 1:
        raise InputError(f"--sent is {sent}; allowed is from 0 to 1; write for example 0.4")
    if request.mode not in ("nosplit", "exact"):
        raise InputError(f"--replan in mode {request.mode}; allowed are nosplit and exact; choose one")
    routed = read_routes(path, topology)
    done, moved, least = [], 0, 0
    for phase in range(int(routed.phase.max(initial=-1)) + 1):
        network, subflows = restore(topology, path, routed, phase)
        gone = np.array([int(size * sent) for size in subflows.bytes.tolist()], np.int64)
        found = replan(network, subflows, request.failed, sent=gone, split=request.mode == "exact")
        check(found.network, found.subflows, found.extents)
        moved, least = moved + found.moved, least + found.least_moved
        plan = answer(
            found.network, found.subflows, found.congestion, f"{views.plural(found.moved, 'subflow')} changed"
        )
        done.append(Done(f"phase {phase}", plan, expectations(found.network, request.seed)))
    return Work(done, moved, least)


def restore(topology: Topology, path: str, routed: Routed, phase: int) -> tuple[Network, Subflows]:
    """The network and the subflows of one phase of a file. Raises InputError for a path that is none of the
    shortest."""
    flows = np.flatnonzero(routed.phase == phase)
    network = Network.of(topology, routed.flows.take(flows))
    mine = np.flatnonzero(np.isin(routed.subflows.flow, flows))
    old = routed.subflows.take(mine)
    flow = np.searchsorted(flows, old.flow)
    pairs = network.paths.pair[flow]
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    for pair in np.unique(pairs).tolist():
        for number in range(int(network.paths.begin[pair]), int(network.paths.begin[pair + 1])):
            numbers[pair, network.paths.interior(number)] = number
    known = [
        numbers.get((pair, routed.paths[at][1:-1])) for pair, at in zip(pairs.tolist(), old.path.tolist(), strict=True)
    ]
    if None in known:
        raise InputError(
            f"{path}: subflow {int(mine[known.index(None)])} takes no shortest path of {topology.name}; plan again"
        )
    return network, Subflows(flow, old.offset, old.bytes, np.array(known, np.int64))


def texts(topology: Topology, work: Work, mode: str) -> Iterator[str]:
    """The routes file."""
    phases: list[tuple[PathTable, Flows, Subflows]] = [
        (done.plan.network.paths, done.plan.network.flows, done.plan.subflows) for done in work.phases
    ]
    names = [{"name": done.name, "flows": len(done.plan.network.flows)} for done in work.phases]
    return routes_lines(topology, {"topology": topology.name, "mode": mode, "phases": names}, phases)


def summary(work: Work, path: Path, mode: str) -> dict[str, Any]:
    """What `--json` prints. Times in seconds; phases follow one another, so theirs add up."""
    ecmp = {str(parts): _sum([done.ecmp[parts] for done in work.phases]) for parts in PATHS}
    congestion, spray = (sum(values) for values in zip(*_times(work), strict=True))
    value: dict[str, Any] = {
        "routes": str(path),
        "mode": mode,
        "max_congestion": congestion,
        "spray_congestion": spray,
        "spray_known": all(done.plan.spray_known for done in work.phases),
        "ecmp_expected": ecmp,
        "flows": sum(len(done.plan.network.flows) for done in work.phases),
        "subflows": sum(len(done.plan.subflows) for done in work.phases),
        "splits": sum(done.plan.splits for done in work.phases),
        "lower_bound_splits": sum(done.plan.lower_bound_splits for done in work.phases),
        "within_mode": work.kept,
        "gains_nothing": gains_nothing(work),
        "verified": True,
        "placement": _placement(work),
        "phases": [
            {
                "name": done.name,
                "flows": len(done.plan.network.flows),
                "subflows": len(done.plan.subflows),
                "max_congestion": float(done.plan.congestion),
                "spray_congestion": float(done.plan.spray),
                "method": done.plan.method,
            }
            for done in work.phases
        ],
    }
    return value if work.moved is None else {**value, "moved": work.moved, "least_moved": work.least_moved}


def _placement(work: Work) -> dict[str, Any] | None:
    """Whether another order of the ranks would lower what crosses between leaves; null for very many flows."""
    flows = [done.plan.network.flows for done in work.phases]
    if not flows or sum(map(len, flows)) > MOST_ADVISED:
        return None
    together = Flows(*(np.concatenate([getattr(part, name) for part in flows]) for name in ("src", "dst", "bytes")))
    advice = advise(work.phases[0].plan.network.topology, together)
    better = advice.crossing_after < advice.crossing
    order = {"order": list(advice.order)} if better else {}
    return {"crossing_bytes": advice.crossing, "crossing_bytes_after": advice.crossing_after, **order}


def _times(work: Work) -> list[tuple[float, float]]:
    return [(float(done.plan.congestion), float(done.plan.spray)) for done in work.phases] or [(0.0, 0.0)]


def _sum(parts: Sequence[Expectation]) -> dict[str, float]:
    """Of phases in turn: means add up; so do percentiles, at most; errors are independent."""
    return {
        "mean": sum(part.mean for part in parts),
        "p99": sum(part.p99 for part in parts),
        "stderr": sum(part.stderr**2 for part in parts) ** 0.5,
        "trials": min((part.trials for part in parts), default=0),
    }


def gains_nothing(work: Work) -> bool:
    """Whether one hash for each flow is expected to do as well."""
    hashed = sum(done.ecmp[1].mean for done in work.phases)
    planned = sum(float(done.plan.congestion) for done in work.phases)
    return hashed <= planned * NOTHING


def show(console: Console, topology: Topology, work: Work, path: Path) -> None:
    """A table of what each way of choosing paths makes of the fullest link."""
    from rich import box
    from rich.table import Table

    value = summary(work, path, "")
    views.show_fabric(console, topology)
    flows = sum(int(done.plan.network.flows.bytes.sum()) for done in work.phases)
    phases = "" if len(work.phases) == 1 else f" in {views.plural(len(work.phases), 'phase')}"
    views.row(console, "flows", f"{views.plural(value['flows'], 'flow')}{phases}, {format_bytes(flows)}")
    spray = value["spray_congestion"]
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("paths chosen by", "subflows", "fullest link", "× spraying", "99 %"):
        table.add_column(name, justify="left" if name == "paths chosen by" else "right")
    at_least = "" if value["spray_known"] else " (at least)"
    table.add_row(f"ideal spraying{at_least}", "", format_seconds(spray), "1.000", "")
    table.add_row(
        "this plan", f"{value['subflows']:,}", format_seconds(value["max_congestion"]),
        _times_spray(value["max_congestion"], spray), "", style="bold green" if work.kept else "bold yellow",
    )  # fmt: skip
    for parts in PATHS:
        hashed = value["ecmp_expected"][str(parts)]
        name = "ECMP, a hash a flow" if parts == 1 else f"ECMP, {parts} hashes a flow"
        table.add_row(
            name, f"{value['flows'] * parts:,}", format_seconds(hashed["mean"]),
            _times_spray(hashed["mean"], spray), _times_spray(hashed["p99"], spray),
        )  # fmt: skip
    console.print(table)
    _show_verdict(console, work, value)
    views.row(console, "routes", f"{path} ({format_bytes(path.stat().st_size)}), verified", style="bold green")


def _times_spray(seconds: float, spray: float) -> str:
    return f"{seconds / spray:.3f}" if spray else "–"


def _show_verdict(console: Console, work: Work, value: Mapping[str, Any]) -> None:
    if work.moved is None:
        least = f"as good as spraying takes {value['lower_bound_splits']:,} at least"
        views.row(console, "splits", f"{views.plural(value['splits'], 'split')}; {least}")
    else:
        moved = f"{views.plural(work.moved, 'subflow')} changed, {work.least_moved:,} had to"
        views.row(console, "splits", f"{moved}; {value['subflows']:,} now")
    for done in work.phases if len(work.phases) <= 4 else ():
        views.row(console, "method", done.plan.method if len(work.phases) == 1 else f"{done.name}: {done.plan.method}")
    if not work.kept:
        views.row(console, "", "the mode's promise is not kept: the plan is the best that was found", style="yellow")
    placement = value["placement"]
    if placement and "order" in placement:
        now, after = (format_bytes(placement[key]) for key in ("crossing_bytes", "crossing_bytes_after"))
        text = f"another order of the ranks would take {after} between leaves instead of {now} (order: --json)"
        views.row(console, "placement", text)
    if gains_nothing(work):
        views.row(
            console, "verdict", "planning gains nothing here: plain hashing is expected to do as well", style="yellow"
        )
    else:
        gain = value["ecmp_expected"]["1"]["mean"] / value["max_congestion"]
        views.row(console, "verdict", f"{gain:.2f} times less on the fullest link than a hash a flow")
