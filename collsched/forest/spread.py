"""Concurrent flow by multiplicative weights: fuller links cost more, and flows follow what is cheap.

Plotkin, Shmoys and Tardos (1995), all sources in one step. Each round sends everything along cheapest paths, then
raises the price of each link by a factor exp(step · its load / the largest load); steps shrink. The average of the
flows nears the optimum, and so does the bound that the prices prove. Equal links get equal prices, so that on a
symmetric fabric flows are symmetric, and a few rounds are often exact. Nothing here is trusted: loads and bounds are
evaluated exactly afterwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.forest.fabric import Fabric

_ROUNDS = (8, 100)  # at least and at most
_WORK = 4e7  # rounds · links · sources
_STEP = 2.0  # of the first round
_FLOOR = 1e-4  # the least price beside the largest; above the slack, so that cheapest paths have no cycle
_SLACK = 1e-6
_CLOSE = 1e-9

Floats = NDArray[np.float64]


def spread(fabric: Fabric) -> tuple[list[Floats], list[Floats]]:
    """Some [links, sources] flows of one unit a pair, and some [links] prices."""
    capacity = fabric.capacity / float(fabric.capacity.max())
    rounds = int(np.clip(_WORK / (len(capacity) * len(fabric.sources)), *_ROUNDS))
    logarithm, average = np.zeros(len(capacity)), np.zeros((len(capacity), len(fabric.sources)))
    best, lowest, steps = average, np.inf, 0.0
    prices: list[Floats] = []
    for count in range(rounds):
        price = np.exp(logarithm - logarithm.max()) / capacity
        price = np.maximum(price / price.max(), _FLOOR)
        flow = fabric.cheapest(price, _SLACK)
        load = flow.sum(axis=1) / capacity
        if load.max() < lowest * (1 - _CLOSE):
            best, lowest = flow, load.max()
            full = (load > lowest * (1 - _CLOSE)).astype(np.float64)
            if fabric.distances(full)[fabric.sources].sum() > lowest * (full @ capacity) * (1 - _CLOSE):
                return [flow], [full]
        step = _STEP / np.sqrt(count + 1)
        logarithm += step * load / load.max()
        average, steps = average + step * flow, steps + step
        if count >= rounds // 2 and count % (rounds // 8) == 0:
            prices.append(np.where(price > 2 * _FLOOR, price, 0))
    return [best, average / steps], prices
