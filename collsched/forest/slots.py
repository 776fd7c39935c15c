"""Slots: how many trees may cross each link, for k trees per unit of weight at a given rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.errors import InputError
from collsched.forest.optimum import Optimum, arrays
from collsched.forest.problem import Problem

_MOST = 1 << 61  # slots of all links together, so that no sum overflows
_TRIES = 64  # multiples of the smallest conceivable k


@dataclass(frozen=True, slots=True)
class Slots:
    """`k` trees per unit of weight fit into `capacity[i]` ≤ ⌊U·bandwidth⌋ slots of arc i; they take U / k per unit."""

    k: int
    U: Fraction
    capacity: NDArray[np.int64]  # [arcs]


def slots(problem: Problem, ratio: Fraction, k: int) -> NDArray[np.int64] | None:
    """[arcs] slots that support k trees per unit of weight at `ratio` = U / k, trimmed where a relay would
    send more than it receives; None where they do not, or no trimming was found."""
    return _core.trimmed_slots(*arrays(problem, floor_slots(problem, ratio * k)), k)


def exact_slots(problem: Problem, optimum: Optimum) -> Slots | None:
    """The smallest k whose slots reach the optimum's ratio exactly; None where trimming finds none.

    On a tight cut no slot may be lost to rounding, so k is a multiple of the denominator there (lemma 4). Of
    many such multiples only the first few are tried before optimum.k, which needs no rounding.
    """
    step = _step(problem, optimum)
    candidates = list(range(step, min(optimum.k, _TRIES * step), step))
    for k in [*candidates, optimum.k]:
        capacity = slots(problem, optimum.ratio, k)
        if capacity is not None:
            return Slots(k, optimum.ratio * k, capacity)
    return None


def best_for_k(problem: Problem, optimum: Optimum, k: int) -> Slots:
    """The smallest U at which k trees per unit of weight fit (lemma 5).

    Bisects over the values m / bandwidth at which some link gains a slot. Raises InputError for k < 1, and where
    a relay that sends more than it receives keeps every trimming tried from supporting k trees.
    """
    if k < 1:
        raise InputError(f"trees per root is {k}; it must be a positive integer")
    low, high = optimum.ratio * k, optimum.U * -(-k // optimum.k)
    best = slots(problem, low / k, k)
    if best is not None:
        return Slots(k, low, best)
    best = slots(problem, high / k, k)
    while best is None:
        if high > 64 * low:
            raise InputError(
                "a switch's links out of it carry more than those into it, and no trimming of them lets "
                f"{k} trees per root fit; raise the bandwidth into it, or leave out --trees-per-root"
            )
        high *= 2
        best = slots(problem, high / k, k)
    high = _largest_step(problem, high)
    while (below := _largest_step(problem, high, strict=True)) > low:
        middle = min(below, max(_largest_step(problem, (low + high) / 2), _smallest_step_above(problem, low)))
        found = slots(problem, middle / k, k)
        if found is None:
            low = middle
        else:
            high, best = middle, found
    return Slots(k, high, best)


def _step(problem: Problem, optimum: Optimum) -> int:
    """The least k for which k·ratio·bandwidth is an integer on every link that leaves the optimum's cut."""
    if optimum.cut is None:
        return 1
    inside = np.zeros(problem.nodes, bool)
    inside[list(optimum.cut.side)] = True
    crossing = problem.capacity[inside[problem.src] & ~inside[problem.dst]]
    per_capacity = optimum.ratio / problem.scale
    return per_capacity.denominator // gcd(per_capacity.denominator, int(np.gcd.reduce(crossing)))


def floor_slots(problem: Problem, U: Fraction) -> NDArray[np.int64]:
    """[arcs] ⌊U·bandwidth⌋, exactly. Raises InputError if the slots do not fit into 64 bits."""
    distinct, index = np.unique(problem.capacity, return_inverse=True)
    counts = [int(c) * U.numerator // (U.denominator * problem.scale) for c in distinct]
    if max(counts, default=0) * max(len(problem.capacity), 1) >= _MOST:
        raise InputError(
            "the link bandwidths have no common measure small enough for exact trees; "
            "round them to fewer digits, or ask for few trees with --trees-per-root"
        )
    return np.array(counts, np.int64)[index].astype(np.int64)


def _largest_step(problem: Problem, U: Fraction, *, strict: bool = False) -> Fraction:
    """The largest value ≤ U (< U if strict) at which some link gains a slot."""
    values = [Fraction(int(c), problem.scale) for c in np.unique(problem.capacity)]
    if strict:
        return max((-((-U * b).__floor__()) - 1) / b for b in values)
    return max((U * b).__floor__() / b for b in values)


def _smallest_step_above(problem: Problem, U: Fraction) -> Fraction:
    values = [Fraction(int(c), problem.scale) for c in np.unique(problem.capacity)]
    return min(((U * b).__floor__() + 1) / b for b in values)
