"""How full links are: over the whole collective, and over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.plan import Plan
from collsched.report.motion import Motion
from collsched.topology.model import Topology

Floats = NDArray[np.float64]
GB = 1e9


def shares(plan: Plan) -> Floats:
    """[links] the time for which its bytes keep each link busy, over that of the fullest links of each phase in turn
    (1: busy for as long as the forests' loads force the collective to last)."""
    topology = plan.topology
    bandwidth = _bandwidths(topology)
    total = np.zeros(len(topology.links))
    for forest in plan.forests:
        copies = np.repeat(forest.multiplicity, np.diff(np.append(forest.ptr, forest.ptr[-1]))[: len(forest.roots)])
        load = np.bincount(forest.edges.astype(np.int64), copies, len(forest.routes.ptr) - 1)
        crossing = np.repeat(load, np.diff(forest.routes.ptr))
        total += np.bincount(forest.routes.links, crossing, len(topology.links)) / forest.k
    ratio = float(plan.report.ratio)
    return total / bandwidth / ratio if ratio else total


def profile(topology: Topology, motion: Motion, bins: int) -> Floats:
    """[links, bins] the mean of each link's rate over its bandwidth in each of `bins` equal parts of the time; a
    transfer's rate is taken to be even from its first byte to its last."""
    routes = motion.schedule.routes
    size = np.diff(routes.ptr)[motion.route]
    first = np.repeat(routes.ptr[:-1][motion.route] - np.cumsum(size) + size, size)
    link = routes.links[first + np.arange(size.sum())].astype(np.int64)
    if motion.seconds == 0 or not len(link):
        return np.zeros((len(topology.links), bins))
    width = motion.seconds / bins
    begin, end = (np.repeat(value / width, size) for value in (motion.leaves, motion.sent))
    end = np.maximum(end, begin + 1e-9)
    rate = np.repeat(motion.nbytes / width, size) / (end - begin)
    # The bytes passed by grid point b are Σ rate · max(0, b − begin) − rate · max(0, b − end).
    passed = np.zeros((len(topology.links), bins + 1))
    for at, weight in ((begin, rate), (end, -rate)):
        after = np.minimum(np.ceil(at), bins + 1).astype(np.int64)
        key = link * (bins + 2) + after
        count = len(topology.links) * (bins + 2)
        slope = np.bincount(key, weight, count).reshape(-1, bins + 2).cumsum(axis=1)[:, : bins + 1]
        shift = np.bincount(key, weight * at, count).reshape(-1, bins + 2).cumsum(axis=1)[:, : bins + 1]
        passed += slope * np.arange(bins + 1) - shift
    return np.maximum(np.diff(passed, axis=1), 0) / (_bandwidths(topology) * GB)[:, None]


def _bandwidths(topology: Topology) -> Floats:
    return np.array([float(link.bandwidth) for link in topology.links])
