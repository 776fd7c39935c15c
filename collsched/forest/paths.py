"""Flows taken apart into paths of whole units, as a forest.

A tree of an all-to-all is one path from a source to a destination: a chain of routes that meet at ranks, which store
and forward. The shard of a tree is that of its two ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from collsched.forest.fabric import Fabric, Floats, Ints
from collsched.forest.model import Forest, Routes

_DENOMINATOR = 5040
_LARGEST_COMMON = 1 << 20
_UNITS = 1 << 16  # where amounts have no small common denominator
_MOST_UNITS = 1 << 61  # of all pairs together
_MOST_EDGES = 1 << 23
_SAMPLE = 16  # sources whose amounts are looked at first
_NEAR = 1e-6


@dataclass(frozen=True, slots=True)
class Paths:
    """A forest of paths, and the units that they put on every link, of which a demand of 1 has forest.k."""

    forest: Forest
    load: Ints


def decompose(fabric: Fabric, flow: Floats) -> Paths:
    """Paths that carry a flow, as nearly as whole units can: exactly, where the amounts have a small common
    denominator. A source's flow takes at most links + ranks paths (lemma 13); where all of them together have more than
    `_MOST_EDGES` edges, every pair gets few."""
    demand, pairs = int(fabric.demand.sum()), np.count_nonzero(fabric.demand)
    k = _common_units(flow)
    if k is None or k * demand > _MOST_UNITS:
        k = max(1, min(_UNITS, _MOST_UNITS // demand))
    found = traced(fabric, flow, k, k * demand)
    if len(found.forest.edges) > _MOST_EDGES:
        hops = len(found.forest.edges) / len(found.forest.roots)
        parts = max(1, int(_MOST_EDGES / (hops * pairs)))
        found = traced(fabric, flow, parts, parts)
    return found


def traced(fabric: Fabric, flow: Floats, k: int, parts: int) -> Paths:
    """Paths of whole units, k for a demand of 1, at most `parts` a pair; pairs by source, then by target."""
    (roots, multiplicity, ptr, edges, route_ptr, route_links), load = fabric.native.trace(flow.ravel(), k, parts)
    return Paths(Forest("out", k, roots, multiplicity, ptr, edges, Routes(route_ptr, route_links)), load)


def no_paths() -> Forest:
    """The forest of an exchange in which nothing moves."""
    nothing = np.zeros(0, np.int64)
    return Forest(
        "out",
        1,
        nothing.astype(np.int32),
        nothing,
        np.zeros(1, np.int64),
        nothing.astype(np.uint32),
        Routes(np.zeros(1, np.int64), nothing.astype(np.int32)),
    )


def _common_units(flow: Floats) -> int | None:
    """A small number of units of which all amounts are whole ones, if there is one: what a few sources have in common,
    if all have it."""
    k = 1
    for amount in np.unique(np.round(flow[:: max(1, len(flow) // _SAMPLE)], 7)).tolist():
        near = Fraction(amount).limit_denominator(_DENOMINATOR)
        k = lcm(k, near.denominator)
        if abs(float(near) - amount) > _NEAR or k > _LARGEST_COMMON:
            return None
    whole = flow * k
    return k if bool((np.abs(whole - np.rint(whole)) < _NEAR * k).all()) else None
