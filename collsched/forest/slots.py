"""Slots: how many trees may cross each link, for k trees per unit of weight at a given rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.errors import InputError
from collsched.forest.optimum import Optimum
from collsched.forest.problem import Problem, arrays
from collsched.forest.problem import floor_slots as floor_slots

_TRIES = 64  # multiples of the smallest conceivable k
_DOUBLINGS = 8


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
    """The smallest k whose slots reach the best ratio that can be reached, `optimum.reached`; None where none is found.

    On a tight cut no slot may be lost to rounding, so k is a multiple of the denominator there (lemma 4). Of
    many such multiples only the first few are tried before optimum.k, which needs no rounding.
    """
    step = _step(problem, optimum)
    candidates = list(range(step, min(optimum.k, _TRIES * step), step))
    for k in [*candidates, optimum.k]:
        capacity = _fit(problem, optimum, optimum.reached * k, k)
        if capacity is not None:
            return Slots(k, optimum.reached * k, capacity)
    return None


def best_for_k(problem: Problem, optimum: Optimum, k: int) -> Slots:
    """The smallest U at which k trees per unit of weight fit (lemma 5).

    Bisects over the values m / bandwidth at which some link gains a slot. Raises InputError for k < 1, and where
    a relay that sends more than it receives keeps every trimming tried from supporting k trees.
    """
    if k < 1:
        raise InputError(f"trees per root is {k}; it must be a positive integer")
    low = optimum.reached * k
    best = _fit(problem, optimum, low, k)
    if best is not None:
        return Slots(k, low, best)
    high, best = _some_fit(problem, optimum, k)
    high = _largest_step(problem, high)
    while (below := _largest_step(problem, high, strict=True)) > low:
        middle = min(below, max(_largest_step(problem, (low + high) / 2), _smallest_step_above(problem, low)))
        found = _fit(problem, optimum, middle, k)
        if found is None:
            low = middle
        else:
            high, best = middle, found
    return Slots(k, high, best)


def _fit(problem: Problem, optimum: Optimum, U: Fraction, k: int) -> NDArray[np.int64] | None:
    """Slots for k trees at U: of all bandwidths, trimmed then; or of bandwidths trimmed beforehand."""
    found = slots(problem, U / k, k)
    if found is None and optimum.trimmed is not None:
        found = slots(optimum.trimmed, U / k, k)
    return found


def _some_fit(problem: Problem, optimum: Optimum, k: int) -> tuple[Fraction, NDArray[np.int64]]:
    """Any U at which k trees fit: that of as many times optimum.k trees, or a power of two more."""
    U = optimum.U * -(-k // optimum.k)
    for _ in range(_DOUBLINGS):
        found = _fit(problem, optimum, U, k)
        if found is not None:
            return U, found
        U *= 2
    raise InputError(
        "a switch's links out of it carry more than those into it, and no trimming of them lets "
        f"{k} trees per root fit; raise the bandwidth into it, or leave out --trees-per-root"
    )


def _step(problem: Problem, optimum: Optimum) -> int:
    """The least k for which k·ratio·bandwidth is an integer on every link that leaves the optimum's cut."""
    if optimum.cut is None or not optimum.certified:
        return 1
    inside = np.zeros(problem.nodes, bool)
    inside[list(optimum.cut.side)] = True
    crossing = problem.capacity[inside[problem.src] & ~inside[problem.dst]]
    per_capacity = optimum.ratio / problem.scale
    return per_capacity.denominator // gcd(per_capacity.denominator, int(np.gcd.reduce(crossing)))


def _largest_step(problem: Problem, U: Fraction, *, strict: bool = False) -> Fraction:
    """The largest value ≤ U (< U if strict) at which some link gains a slot."""
    values = [Fraction(int(c), problem.scale) for c in np.unique(problem.capacity) if c]
    if strict:
        return max((-((-U * b).__floor__()) - 1) / b for b in values)
    return max((U * b).__floor__() / b for b in values)


def _smallest_step_above(problem: Problem, U: Fraction) -> Fraction:
    values = [Fraction(int(c), problem.scale) for c in np.unique(problem.capacity) if c]
    return min(((U * b).__floor__() + 1) / b for b in values)
