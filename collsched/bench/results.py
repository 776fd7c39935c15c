"""What was measured, and what follows from it: percentiles, rates, ratios, losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from collsched.bench.sides import DEFAULT
from collsched.bench.sweep import Case

PLAN = "plan"
_FIELDS = ("count", "dtype", "op", "in_place")


@dataclass(frozen=True, eq=False)
class Measurement:
    """One side in one case: `samples[i, r]` are the seconds of rank r in timed iteration i. `wrong`: elements that were
    not what numpy expects, over all ranks; None if they were not checked."""

    role: str  # PLAN, or "baseline"
    engine: str
    setting: str
    case: Case
    samples: NDArray[np.float64]
    wrong: int | None

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Seconds of the slowest rank, an iteration each."""
        slowest: NDArray[np.float64] = self.samples.max(axis=1)
        return slowest

    @property
    def p50(self) -> float:
        return float(np.percentile(self.times, 50))

    @property
    def p95(self) -> float:
        return float(np.percentile(self.times, 95))

    @property
    def min(self) -> float:
        return float(self.times.min())

    @property
    def max(self) -> float:
        return float(self.times.max())

    @property
    def algbw(self) -> float | None:
        """GB/s at the median time; None below the clock's resolution."""
        return self.case.bytes / self.p50 / 1e9 if self.p50 > 0 else None

    @property
    def name(self) -> str:
        """`mpi`, `mpi ring`."""
        return self.engine if self.setting == DEFAULT else f"{self.engine} {self.setting}"

    def to_json(self) -> dict[str, Any]:
        case = {name: getattr(self.case, name) for name in _FIELDS}
        return (
            {"role": self.role, "engine": self.engine, "setting": self.setting, "wrong": self.wrong}
            | case
            | {"samples": self.samples.tolist()}
        )

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        case = Case(**{name: row[name] for name in _FIELDS})
        return cls(row["role"], row["engine"], row["setting"], case, np.array(row["samples"]), row["wrong"])


@dataclass(frozen=True)
class Match:
    """All sides in one case."""

    plan: Measurement
    baselines: Sequence[Measurement]

    @property
    def best(self) -> Measurement | None:
        """The fastest baseline."""
        return min(self.baselines, key=lambda side: side.p50, default=None)

    def ratio(self, side: Measurement | None) -> float | None:
        """Baseline time / plan time: above 1 the plan is faster."""
        if side is None or self.plan.p50 <= 0:
            return None
        return side.p50 / self.plan.p50

    @property
    def lost(self) -> bool:
        """Whether some baseline is faster than the plan."""
        return self.best is not None and self.best.p50 < self.plan.p50


def matches(measurements: Iterable[Measurement]) -> list[Match]:
    """By case, in the order measured."""
    cases: dict[Case, list[Measurement]] = {}
    for one in measurements:
        cases.setdefault(one.case, []).append(one)
    return [
        Match(next(one for one in found if one.role == PLAN), [one for one in found if one.role != PLAN])
        for found in cases.values()
    ]


@dataclass(frozen=True, slots=True)
class Score:
    """The plan against one library, at the library's fastest setting of each size."""

    engine: str
    in_place: bool
    lost: Sequence[int]  # bytes
    sizes: int
    ratios: Sequence[float]

    @property
    def mean(self) -> float:
        """Geometric mean of baseline time / plan time."""
        return math.exp(sum(map(math.log, self.ratios)) / len(self.ratios))


def scores(found: Sequence[Match]) -> list[Score]:
    """Of every library and placement that was measured."""
    engines = dict.fromkeys(side.engine for match in found for side in match.baselines)
    result = []
    for engine in engines:
        for in_place in (False, True):
            ratios = {}
            for match in (match for match in found if match.plan.case.in_place is in_place):
                best = min((s for s in match.baselines if s.engine == engine), key=lambda s: s.p50, default=None)
                if (ratio := match.ratio(best)) is not None:
                    ratios[match.plan.case.bytes] = ratio
            if ratios:
                lost = [nbytes for nbytes, ratio in ratios.items() if ratio < 1]
                result.append(Score(engine, in_place, lost, len(ratios), list(ratios.values())))
    return result


def mean_busbw(found: Sequence[Match], factor: float) -> float:
    """The plan's busbw in GB/s, averaged over all cases, as nccl-tests does."""
    rates = [(match.plan.algbw or 0.0) * factor for match in found]
    return sum(rates) / len(rates) if rates else 0.0
