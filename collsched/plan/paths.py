"""What a plan's paths are worth: planned anew and pinned, or left to a fabric that hashes or sprays."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from fractions import Fraction
from math import sqrt
from typing import Literal

import numpy as np

from collsched.choice import Contestant
from collsched.errors import InputError
from collsched.passes.repath import repath
from collsched.passes.segment import Segment
from collsched.passes.unpinned import Hash, Spray, Unpinned
from collsched.plan.model import Plan
from collsched.simulate import Model, Simulation

PathMode = Literal["auto", "pinned", "spray", "ecmp"]
PATH_MODES: tuple[PathMode, ...] = ("auto", "pinned", "spray", "ecmp")

MOST_TRANSFERS = 1 << 19  # of a schedule that is simulated
MOST_PARTS = 64  # of a sprayed transfer
TRIALS = (8, 100)  # of hashes: the fewest, the most
PATIENCE = 5.0  # CPU seconds after which no more than the fewest are drawn


@dataclass(frozen=True, slots=True)
class Hashed:
    """Simulated seconds over random hashes."""

    mean: float
    p99: float
    stderr: float
    trials: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Simulated seconds of a plan with its own paths, and where the fabric chooses, with equally many segments.
    `paths`: the most shortest paths between two ports."""

    segments: int
    paths: int
    pinned: float
    sprayed: float | None = None
    hashed: Hashed | None = None


def pinned(plan: Plan) -> Plan:
    """The plan with the paths of `routes.planner` for what its ranks send one another, in each phase or in each step,
    whichever is simulated to be the fastest at the plan's size; its own where they are. Verified."""
    options = {**plan.options, "paths": "pinned"}
    tries = [plan.forests]
    for by_step in (False, True):
        forests = repath(plan.topology, plan.forests, together=plan.joint, by_step=by_step)
        if any(new is not old for new, old in zip(forests, plan.forests, strict=True)):
            tries.append(forests)
    plans = [replace(plan, forests=forests, options=options) for forests in tries]
    best = min(plans, key=_seconds) if len(plans) > 1 else plans[0]
    _ = best.report
    return best


def _seconds(plan: Plan) -> tuple[float, Fraction]:
    """Simulated at the best number of segments, if that is not too large; then what the fullest links take."""
    schedule = plan.schedule()
    if len(schedule.transfers.chunk) > MOST_TRANSFERS:
        return 0.0, plan.report.ratio
    return Contestant(plan.topology, schedule).at(plan.size).seconds, plan.report.ratio


def compare(plan: Plan, mode: Literal["spray", "ecmp"], seed: int = 0) -> Comparison:
    """The plan, with the segments that are best for it, beside the same transfers without pinned paths. Raises
    InputError for a plan too large to simulate."""
    plan = plan.at(plan.size)
    whole = plan.schedule()
    if whole.routes.switches(plan.topology):
        raise InputError(
            f"--paths {mode}: switches copy or sum the data of this plan, along trees that are theirs to place; use "
            "--in-network off"
        )
    paths = Unpinned.of(plan.topology, whole).paths
    parts = min(paths, MOST_PARTS) if mode == "spray" else 1
    count = len(whole.transfers.chunk) * parts
    if count > MOST_TRANSFERS:
        raise InputError(
            f"--paths {mode}: {count:,} transfers to simulate; allowed are {MOST_TRANSFERS:,}; use --group or fewer "
            "--trees-per-root"
        )
    own = Contestant(plan.topology, whole).at(plan.size)
    segments = min(own.segments, MOST_TRANSFERS // max(1, count))
    schedule = Segment(segments)(whole)
    alone = Simulation(plan.topology, schedule).seconds(plan.size)
    unpinned = Unpinned.of(plan.topology, schedule)
    if mode == "ecmp":
        return Comparison(segments, paths, alone, hashed=_hashed(plan, unpinned, seed))
    model = Model(Model().cost / parts)
    sprayed = Simulation(plan.topology, Spray(parts)(unpinned), model).seconds(plan.size)
    return Comparison(segments, paths, alone, sprayed=sprayed)


def _hashed(plan: Plan, unpinned: Unpinned, seed: int) -> Hashed:
    """As many draws as the time allows, and 8 at least; equal seeds give equal draws."""
    few, many = (1, 1) if unpinned.paths == 1 else TRIALS
    seeds = np.random.SeedSequence(seed).generate_state(many).tolist()
    times, start = list[float](), time.process_time()
    while len(times) < few or (len(times) < many and time.process_time() - start < PATIENCE):
        drawn = Hash(seeds[len(times)])(unpinned)
        times.append(Simulation(plan.topology, drawn).seconds(plan.size))
    spread = float(np.std(times, ddof=1)) if len(times) > 1 else 0.0
    return Hashed(float(np.mean(times)), float(np.quantile(times, 0.99)), spread / sqrt(len(times)), len(times))
