"""Predicted time of a forest, or of two in turn: an alpha–beta model.

A chunk that flows down a tree in s segments takes s + D − 1 steps on D hops: s to leave the root, D − 1 more until the
last one has arrived. All trees share the links; together they keep the fullest link busy for B = (M / W) · ratio
seconds, so that a step lasts B / s and costs the latency α of one hop once:

    T(s) = (s + D − 1) · (B / s + α)        steps × one step
         = B + (D − 1)·B/s + (s + D − 1)·α

B is exact, from the loads. D is the height of the deepest tree and α the longest latency of one hop, so the two other
terms lean to the slow side. T(s) is least at s = √((D − 1)·B / α). T ≥ B ≥ the bound, at every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

import numpy as np

from collsched.forest.check import ForestReport
from collsched.forest.model import Forest
from collsched.topology.model import Topology

GB = 10**9
MICRO = 10**6
MAX_SEGMENTS = 1024  # a piece below a thousandth of a chunk gains less than 0.1 % of the fill


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted `seconds` for `nbytes`, of which `bandwidth_seconds` are owed to the fullest links alone.

    `segments`: pipeline pieces of a chunk with which the model is fastest, one number a phase.
    """

    nbytes: int
    seconds: float
    bandwidth_seconds: float
    segments: tuple[int, ...]

    @property
    def algbw_GBps(self) -> float | None:
        """Bytes / time in GB/s; None where no time passes."""
        return self.nbytes / self.seconds / GB if self.seconds else None


def predict(
    topology: Topology,
    forests: Sequence[Forest],
    reports: Sequence[ForestReport],
    weight: int,
    nbytes: int,
    *,
    together: Fraction | None = None,
) -> Prediction:
    """The predicted time of moving `nbytes`, cut into shards of total `weight`, through `forests` one after another.

    Forests that run at once, on shares of the links, have the ratio `together`: one pipeline, as deep as all of them.
    """
    total = bandwidth = Fraction(0)
    segments: list[int] = []
    if together is not None:
        busy = Fraction(nbytes, weight * GB) * together
        alpha = max(hop_latency(topology, forest) for forest in forests)
        count, seconds = _pipelined(busy, sum(report.depth_max for report in reports), alpha)
        return Prediction(nbytes, float(seconds), float(busy), (count,))
    for forest, report in zip(forests, reports, strict=True):
        busy = Fraction(nbytes, weight * GB) * report.ratio
        count, seconds = _pipelined(busy, report.depth_max, hop_latency(topology, forest))
        bandwidth += busy
        total += seconds
        segments.append(count)
    return Prediction(nbytes, float(total), float(bandwidth), tuple(segments))


def hop_latency(topology: Topology, forest: Forest) -> Fraction:
    """The longest latency of one hop from rank to rank, in seconds: the sum over the links of its route."""
    routes = forest.routes
    if not len(routes.links):
        return Fraction(0)
    exact = [link.alpha for link in topology.links]
    alpha = np.array([float(value) for value in exact])
    slowest = int(np.argmax(np.add.reduceat(alpha[routes.links], routes.ptr[:-1])))
    links = routes.links[routes.ptr[slowest] : routes.ptr[slowest + 1]]
    return sum((exact[link] for link in links.tolist()), Fraction(0)) / MICRO


def _pipelined(busy: Fraction, depth: int, alpha: Fraction) -> tuple[int, Fraction]:
    """The best number of segments and its time. The time is convex in it, so the integer beside the root is best."""
    if depth == 0:
        return 1, Fraction(0)
    best = MAX_SEGMENTS if alpha == 0 else min(MAX_SEGMENTS, isqrt(int((depth - 1) * busy / alpha)))
    times = {s: (s + depth - 1) * (busy / s + alpha) for s in (max(1, best), min(MAX_SEGMENTS, best + 1))}
    count = min(times, key=lambda s: (times[s], s))
    return count, times[count]
