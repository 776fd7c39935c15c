"""Concurrent flow by multiplicative weights, for fabrics whose symmetry makes a few rounds exact.

Plotkin, Shmoys and Tardos (1995), all sources in one step. Each round sends everything along cheapest paths, then
raises the price of each link by a factor exp(step · its load / the largest load); steps shrink. Equal links get equal
prices and flows are split evenly, so that on a symmetric fabric they are symmetric, and so is their average. Nothing
here is trusted: loads and bounds are evaluated exactly afterwards.
"""

from __future__ import annotations

import numpy as np

from collsched.forest.fabric import Fabric, Floats, Ints

_ROUNDS = (4, 60)  # at least and at most
_WORK = 2e7  # rounds · links · sources
_STEP = 2.0  # of the first round
_FINEST = 1 << 30  # the largest price, as a whole number
_FLOOR = 1e-4  # the least price beside the largest: a path is never longer for nothing
_CLOSE = 1e-9


def spread(fabric: Fabric) -> tuple[list[Floats], list[Ints]]:
    """Some flows, and some prices of links."""
    capacity = fabric.capacity / float(fabric.capacity.max())
    rounds = int(np.clip(_WORK / (len(capacity) * len(fabric.sources)), *_ROUNDS))
    logarithm, average = np.zeros(len(capacity)), np.zeros((len(fabric.sources), len(capacity)))
    best, lowest, steps = average, np.inf, 0.0
    prices: list[Ints] = []
    for count in range(rounds):
        price = np.exp(logarithm - logarithm.max()) / capacity
        price = np.maximum(price / price.max(), _FLOOR)
        flow = fabric.even(np.rint(price * _FINEST).astype(np.int64))
        load = flow.sum(axis=0) / capacity
        if load.max() < lowest * (1 - _CLOSE):
            best, lowest = flow, load.max()
            full = (load > lowest * (1 - _CLOSE)).astype(np.int64)
            proven = fabric.bound(full)
            if proven is not None and float(proven) * capacity_unit(fabric) > lowest * (1 - _CLOSE):
                return [flow], [full]
        step = _STEP / np.sqrt(count + 1)
        logarithm += step * load / load.max()
        average, steps = average + step * flow, steps + step
        if count >= rounds // 2 and count % max(1, rounds // 8) == 0:
            prices.append(np.where(price > 2 * _FLOOR, np.rint(price * _FINEST), 0).astype(np.int64))
    return [best, average / steps], prices


def capacity_unit(fabric: Fabric) -> float:
    """The largest bandwidth in GB/s: loads per capacity, in units of it, become times."""
    return float(fabric.capacity.max()) / fabric.scale
