"""When every transfer of a plan leaves and arrives: from the simulator, or where that would take minutes, from the
closed form of `collsched.cost`, in which hop h of piece p lasts from step h + p to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from collsched.cost import predict
from collsched.ir.schedule import REDUCE, Schedule
from collsched.passes.segment import steps
from collsched.plan import Plan
from collsched.simulate import Model, Simulation
from collsched.topology.model import Topology

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Motion:
    """Flows, one a transfer of a piece: flow f carries `nbytes[f]` over `route[f]` of the schedule between `leaves[f]`
    and `sent[f]`, and has `arrived[f]`. Hops, one a chunk and route: `chunk`, `hop_route`, `op`, and when its first
    and its last piece leave and arrive, `times[hop]` = (leaves, arrives, last leaves, last arrives). In seconds."""

    source: Literal["simulated", "predicted"]
    schedule: Schedule
    segments: int
    seconds: float
    route: Ints
    nbytes: Floats
    leaves: Floats
    sent: Floats
    arrived: Floats
    chunk: Ints
    hop_route: Ints
    op: Ints
    times: Floats


def simulated(plan: Plan, nbytes: int, segments: int, model: Model | None = None) -> Motion:
    """From the simulator, each chunk in `segments` pieces."""
    schedule = plan.schedule(segments)
    simulation = Simulation(plan.topology, schedule, model or Model())
    leaves, arrived = simulation.timeline(nbytes)
    moves, sizes = schedule.transfers, simulation.sizes(nbytes).astype(np.float64)
    route, chunk = moves.route.astype(np.int64), moves.chunk.astype(np.int64) // segments
    routes = len(schedule.routes.ptr)
    hop, inverse = np.unique((chunk * routes + route) * 2 + moves.op, return_inverse=True)
    times = np.empty((len(hop), 4))
    for column, (values, pick) in enumerate(
        ((leaves, np.minimum), (arrived, np.minimum), (leaves, np.maximum), (arrived, np.maximum))
    ):
        extreme = np.full(len(hop), np.inf if pick is np.minimum else 0.0)
        pick.at(extreme, inverse.reshape(-1), values)
        times[:, column] = extreme
    sent = np.maximum(arrived - latencies(plan.topology, schedule)[route], leaves)
    end = float(arrived.max(initial=0.0))
    return Motion("simulated", schedule, segments, end, route, sizes, leaves, sent, arrived,
                  hop // 2 // routes, hop // 2 % routes, hop % 2, times)  # fmt: skip


def predicted(plan: Plan, nbytes: int) -> Motion:
    """From the closed form: as many pieces as it finds best, all hops of a phase equally long."""
    schedule, report = plan.schedule(), plan.report
    moves, step = schedule.transfers, steps(schedule)
    lo, hi = schedule.chunks.ranges(schedule.collective, schedule.collective.total(nbytes))
    sizes = (hi - lo)[moves.chunk].astype(np.float64)
    leaves, length, pieces = np.zeros(len(step)), np.zeros(len(step)), 1
    begin = 0.0
    for phase, chosen in enumerate(_phases(plan, schedule)):
        forests, reports = plan.forests, report.forests
        if not plan.joint:
            forests, reports = forests[phase : phase + 1], reports[phase : phase + 1]
        together = report.ratio if plan.joint else None
        found = predict(plan.topology, forests, reports, plan.weight, nbytes, together=together)
        (pieces,) = found.segments
        hops = int(np.ptp(step[chosen])) + 1 if chosen.any() else 1
        tick = found.seconds / (pieces + hops - 1)
        leaves[chosen] = begin + (step[chosen] - step[chosen].min(initial=1 << 30)) * tick
        length[chosen] = tick
        begin += found.seconds
    last = leaves + (pieces - 1) * length
    times = np.stack([leaves, leaves + length, last, last + length], axis=1)
    return Motion("predicted", schedule, pieces, begin, moves.route.astype(np.int64), sizes, leaves, times[:, 3],
                  times[:, 3], moves.chunk.astype(np.int64), moves.route.astype(np.int64), moves.op.astype(np.int64),
                  times)  # fmt: skip


def _phases(plan: Plan, schedule: Schedule) -> list[NDArray[np.bool_]]:
    """The transfers of each phase that has the links to itself."""
    everything = np.ones(len(schedule.transfers.chunk), np.bool_)
    if plan.joint or len(plan.forests) == 1:
        return [everything]
    towards = schedule.transfers.op == REDUCE
    return [towards, ~towards]


def latencies(topology: Topology, schedule: Schedule) -> Floats:
    """[routes] seconds."""
    return _per_route(schedule, np.array([float(link.alpha) / 1e6 for link in topology.links]))


def _per_route(schedule: Schedule, value: Floats) -> Floats:
    """[routes] the sum of a value over the links of each route."""
    if not len(schedule.routes.links):
        return np.zeros(len(schedule.routes.ptr) - 1)
    total: Any = np.add.reduceat(value[schedule.routes.links], schedule.routes.ptr[:-1])
    return np.asarray(total, np.float64)
