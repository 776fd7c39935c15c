"""The measurement, as every rank performs it.

    size, placement ── warm up each side ── try each baseline's settings ──┬── round 1: A B C ──┐
                                                                           ├── round 2: B C A ──┤ → samples
                                                                           └── …             ───┘

All sides are up in the same processes and work on the same buffers. They take turns in rounds, each time another one
first, so that what changes on the machine meanwhile changes for all. Between turns everybody meets in a barrier that
sleeps. A turn begins with calls that do not count, for some milliseconds and at least one: what was measured before
leaves the ranks on other cores, and the caches full of its own. Then, for each timed iteration: restore the input if
the call overwrites it, line up the ranks by the side's own means, time the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.bench import buffers
from collsched.bench.memory import Memory, memory
from collsched.bench.results import PLAN, Measurement
from collsched.bench.sides import DEFAULT, Baseline, Place, PlanSide, Side
from collsched.bench.sweep import Case, Sweep
from collsched.errors import EngineError
from collsched.runtime.check import Case as Checked
from collsched.runtime.check import Data, Values
from collsched.runtime.communicator import Communicator
from collsched.runtime.engine import Executable, select
from collsched.runtime.layout import Role
from collsched.runtime.trace import Trace

_TRIAL_WARMUP, _TRIAL = 2, 5  # calls of every setting, to find the fastest
_SETTLE, _MOST_SETTLING = 0.01, 100  # seconds and calls at the beginning of a turn
_HOPELESS = 3  # times the best so far: not tried further


@dataclass
class Session:
    """One rank with its communicator and the baselines, ready to measure. All methods are collective."""

    plan: Executable
    communicator: Communicator
    baselines: Sequence[Baseline]
    place: Place
    sweep: Sweep

    def __post_init__(self) -> None:
        self._ours = PlanSide(self.communicator, self.place)
        self.dropped: dict[tuple[str, str], str] = {}  # baseline, setting → why it is not tried
        self._settling: dict[tuple[str, str], int] = {}
        self.lacking: dict[tuple[str, bool], str] = {}  # baseline, in place → why it was not measured

    @cached_property
    def memory(self) -> Memory:
        return memory(self.place.device)

    @cached_property
    def _values(self) -> Values:
        """Integers, so small that every order of summation gives the same result in every element type."""
        op = self.sweep.op if self.plan.collective.kind.reduces else "sum"
        return Values(self.plan.collective, self.sweep.dtype, op, "integers")

    def measure(self) -> Iterator[list[Measurement]]:
        """Of every case the plan's measurement and those of the baselines. On ranks other than 0, `wrong` and `samples`
        are right too."""
        for placements in self.sweep.cases(self.plan.collective):
            for case in placements:
                yield self._measure(case)

    def trace(self) -> Trace:
        """What the ranks did in one call at the last size, after warming up."""
        case = self.sweep.cases(self.plan.collective)[-1][0]
        bench = self._bench(case)
        bench.turn(self._ours, self.sweep.warmup)
        with self.communicator.trace() as trace:
            bench.turn(self._ours, 1)
        return trace

    def _measure(self, case: Case) -> list[Measurement]:
        bench = self._bench(case)
        sides: list[Side] = [self._ours]
        self._touch(bench, self._ours)
        for baseline in self.baselines:
            sides += self._contenders(bench, baseline)
        samples = self._take_turns(bench, sides)
        wrong = [bench.check(side) if self.sweep.check else None for side in sides]
        return [
            Measurement(PLAN if side is self._ours else "baseline", side.engine, side.setting, case, times, bad)
            for side, times, bad in zip(sides, samples, wrong, strict=True)
        ]

    def _bench(self, case: Case) -> _Bench:
        plan = select(self.plan, case.bytes)
        role = Role(plan.collective, plan.schedule().chunks, self.place.rank)
        data = Data(Checked(case.dtype, case.count, case.op), self._values)
        allocate = self.communicator.empty if self.sweep.registered else self.memory.empty
        made = buffers.make(case, role, data, self.memory, allocate)
        return _Bench(self.place, self.memory, case, role, data, made)

    def _touch(self, bench: _Bench, side: Side) -> None:
        """Warm up, and find out how many calls the side takes to settle, the same on all ranks."""
        usual = float(np.median(bench.agreed(bench.turn(side, max(1, self.sweep.warmup))).max(axis=1)))
        self._settling[side.engine, side.setting] = max(1, min(_MOST_SETTLING, int(_SETTLE / max(usual, 1e-7))))

    def _contenders(self, bench: _Bench, baseline: Baseline) -> list[Side]:
        """The baseline at its default, and in the setting that is fastest at this size if that is another one."""
        if (reason := baseline.lacks(bench.case)) is not None:
            self.lacking[baseline.engine, bench.case.in_place] = reason
            return []
        default = baseline.side(DEFAULT)
        self._touch(bench, default)
        tried = {DEFAULT: float("inf")}
        for name in [DEFAULT, *baseline.settings()]:
            if (baseline.engine, name) not in self.dropped:
                tried[name] = self._trial(bench, baseline, name, min(tried.values()))
        best = self._best(bench, baseline, tried)
        if best == DEFAULT:
            return [default]
        self._touch(bench, baseline.side(best))
        return [default, baseline.side(best)]

    def _best(self, bench: _Bench, baseline: Baseline, tried: dict[str, float]) -> str:
        """The fastest setting whose results are right."""
        for name in sorted(tried, key=lambda name: tried[name]):
            if name == DEFAULT or tried[name] == float("inf"):
                break
            if not (wrong := bench.check(baseline.side(name))):
                return name
            self.dropped[baseline.engine, name] = f"{wrong:,} wrong elements at {bench.case.bytes} B"
        return DEFAULT

    def _trial(self, bench: _Bench, baseline: Baseline, name: str, best: float) -> float:
        """Median seconds of a few calls; of the first ones where those are far from the `best` so far. Infinite for a
        setting that the library refuses, on all ranks alike."""
        try:
            side = baseline.side(name)
            first = bench.agreed(bench.turn(side, _TRIAL_WARMUP)).max(axis=1).min()
            if first > _HOPELESS * best:
                return float(first)
            return float(np.median(bench.agreed(bench.turn(side, _TRIAL)).max(axis=1)))
        except EngineError as error:
            if name == DEFAULT:
                raise
            self.dropped[baseline.engine, name] = str(error)
            return float("inf")

    def _take_turns(self, bench: _Bench, sides: Sequence[Side]) -> list[NDArray[np.float64]]:
        mine: list[list[float]] = [[] for _ in sides]
        for number, iterations in enumerate(self.sweep.turns):
            for i in range(len(sides)):
                chosen = (number + i) % len(sides)
                side = sides[chosen]
                mine[chosen] += bench.turn(side, iterations, self._settling[side.engine, side.setting])
        return [bench.agreed(times) for times in mine]


@dataclass
class _Bench:
    """One case on this rank."""

    place: Place
    memory: Memory
    case: Case
    role: Role
    data: Data
    buffers: buffers.Buffers

    def turn(self, side: Side, iterations: int, settle: int = 0) -> list[float]:
        """This rank's seconds of each call, without the first `settle`."""
        call = self._begin(side)
        before = self._before(side)
        return self.memory.timed(before, call, settle + iterations)[settle:]

    def check(self, side: Side) -> int:
        """One more call, on an output that holds nothing; the wrong elements of all ranks, and the elements of inputs
        that should not have changed."""
        call = self._begin(side)
        self.buffers.blank()
        self.memory.timed(side.align if self.memory.device == "cpu" else _nothing, call, 1)
        x, out = (None if array is None else self.memory.host(array) for array in (self.buffers.x, self.buffers.out))
        wrong = self.data.wrong(self.role, out)
        if x is not None and not self.case.in_place:
            wrong += int(np.count_nonzero(x != self.data.given(self.role)))
        return sum(self.place.control.gather(wrong))

    def agreed(self, seconds: list[float]) -> NDArray[np.float64]:
        """[iteration, rank] of all ranks."""
        return np.array(self.place.control.gather(seconds)).T

    def _begin(self, side: Side) -> Callable[[], Any]:
        self.place.control.barrier()
        return side.call(self.case, self.role, self.buffers.x, self.buffers.out)

    def _before(self, side: Side) -> Callable[[], None]:
        if self.memory.device != "cpu":
            return self.buffers.restore  # the stream keeps the order; ranks wait for each other in the call

        def prepare() -> None:
            self.buffers.restore()
            side.align()

        return prepare


def _nothing() -> None:
    pass
