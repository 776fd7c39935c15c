"""The guaranteed pipeline: switches removed by edge splitting, trees packed, routes lifted back (lemmas 6 to 8)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.errors import InputError
from collsched.forest.model import Forest, Routes
from collsched.forest.problem import Problem, arrays


def guaranteed(problem: Problem, slots: NDArray[np.int64], k: int) -> Forest:
    """`k` trees per unit of weight, every link i crossed by at most slots[i] of them.

    Exact wherever every terminal can receive k·W and no relay has more slots out than in, as
    `collsched.forest.slots` makes them. Raises InputError if they do not support k trees.
    """
    try:
        found = _core.pack_guaranteed(*arrays(problem, slots), k)
    except ValueError as error:
        raise InputError(f"no {k} trees per root can be packed: {error}") from error
    return from_native(problem, k, found)


def from_native(
    problem: Problem,
    k: int,
    found: tuple[
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.uint32],
        NDArray[np.int64],
        NDArray[np.int32],
    ],
) -> Forest:
    """The native core's arrays as a Forest; in a reversed problem the routes are turned to the direction of travel."""
    roots, multiplicity, ptr, edges, route_ptr, route_links = found
    direction: Literal["out", "in"] = "out"
    if problem.reversed:
        direction = "in"
        position = np.arange(len(route_links))
        route = np.repeat(np.arange(len(route_ptr) - 1), np.diff(route_ptr))
        route_links = route_links[route_ptr[route] + route_ptr[route + 1] - 1 - position]
    return Forest(direction, k, roots, multiplicity, ptr, edges, Routes(route_ptr, route_links))
