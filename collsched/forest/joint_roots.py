"""Among equally fast allreduces, one whose trees are few and shallow: where the data meets is often a matter of choice.

    first       roots of one host alone: their data is relayed        then         every host sends its own data
                r ──▶ box ──▶ box ──▶ box                                          r ──▶ box, r ──▶ box, r ──▶ box

The program has many optima, and its solver ends in a corner: few roots, and hosts that pass on what others send. A tree
leaves its own host at most once for every other host, so what leaves a host beyond that is relayed. The least of that
is sought first; then roots as even as they can be; then the smallest whole weights near these that are as fast.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.forest.joint_program import Columns, Half, Program, Solution, add_cut, run, start

_MOST_ROOTS = 64  # variables; beyond, the additional programs take too long
_SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)  # the largest weight of a rank
_RELAYED = 0.002  # of what is sent from host to host: the grain in which weights are compared
_MOST_STEPS = 10  # more than the least
_CLOSE = 1e-9
_WHOLE = 0.1  # so near to a whole number is one; whatever comes of it is judged exactly

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Settled:
    """Shares in `Columns.unit`s, a variable each, and root weights in a unit of their own."""

    share: list[Fraction]
    root: list[int]


def settle(columns: Columns, best: Solution, rate: Fraction, host: Ints) -> list[Settled]:
    """Solutions of the same rate, `rate` exactly, whose roots have small whole weights, the best first.

    `host`: [nodes] numbers from 0, −1 for a node outside all hosts.
    """
    if not 1 < len(columns.worth) <= _MOST_ROOTS:
        return []
    program = start(columns)
    for half, side in best.cuts:
        add_cut(program, half, side)
    enough = program.solver.Constraint(best.rate * (1 - _CLOSE), program.solver.infinity())
    for variable, worth in zip(program.root, columns.worth.tolist(), strict=True):
        enough.SetCoefficient(variable, worth)
    relayed = [term for half in columns.halves for term in _relayed(program, half, host)]
    _minimise(program, relayed)
    if run(program) is None:
        return []
    least = program.solver.Objective().Value()
    even = _evenly(program, relayed, least * (1 + _CLOSE) + best.rate * _CLOSE)
    if even is None:
        return []
    enough.SetLb(0)
    _minimise(program, relayed)
    return _whole(program, rate, even, _RELAYED * max(1, int(host.max())) * best.rate)


def _minimise(program: Program, terms: list[tuple[Any, int]]) -> None:
    objective = program.solver.Objective()
    objective.Clear()
    for variable, count in terms:
        objective.SetCoefficient(variable, count)
    objective.SetMinimization()


def _relayed(program: Program, half: Half, host: Ints) -> list[tuple[Any, int]]:
    """Variables for what hosts send of others' data, at least, and how many hosts each stands for."""
    others = int(host.max())
    alike: Counter[tuple[tuple[tuple[int, int], ...], ...]] = Counter()
    for number in range(others + 1):
        inside = host == number
        leaving = half.share[inside[half.problem.src] & ~inside[half.problem.dst]]
        starting = half.root[inside & (half.root >= 0)]
        alike[tuple(tuple(sorted(Counter(part.tolist()).items())) for part in (leaving, starting))] += 1
    terms = []
    for (leaving_terms, starting_terms), count in alike.items():
        variable = program.solver.NumVar(0, program.solver.infinity(), "")
        row = program.solver.Constraint(0, program.solver.infinity())
        row.SetCoefficient(variable, 1)
        for column, times in leaving_terms:
            row.SetCoefficient(program.share[column], -times)
        for column, times in starting_terms:
            row.SetCoefficient(program.root[column], times * others)
        terms.append((variable, count))
    return terms


def _evenly(program: Program, relayed: list[tuple[Any, int]], most: float) -> Floats | None:
    """The root variables, the least of them as large as can be."""
    solver = program.solver
    limit = solver.Constraint(-solver.infinity(), most)
    for variable, count in relayed:
        limit.SetCoefficient(variable, count)
    least = solver.NumVar(0, solver.infinity(), "")
    for variable in program.root:
        row = solver.Constraint(0, solver.infinity())
        row.SetCoefficient(variable, 1)
        row.SetCoefficient(least, -1)
    solver.Objective().Clear()
    solver.Objective().SetCoefficient(least, 1)
    solver.Objective().SetMaximization()
    values = run(program)
    limit.SetUb(solver.infinity())
    least.SetUb(0)
    return None if values is None else values[1]


def _whole(program: Program, rate: Fraction, even: Floats, step: float) -> list[Settled]:
    """Solutions of the rate for whole weights near `even`: those that relay least first, then those of small weights.
    What is relayed is counted in `step`s, and `_MOST_STEPS` are too many."""
    found: dict[tuple[int, ...], tuple[int, Settled]] = {}
    for scale in _SCALES:
        weights = np.rint(even / even.max() * scale).astype(np.int64)
        weights //= np.gcd.reduce(weights)
        if (key := tuple(weights.tolist())) in found:
            continue
        exact = rate / int(program.columns.worth @ weights)
        for variable, weight in zip(program.root, key, strict=True):
            variable.SetBounds(float(exact) * weight * (1 - _CLOSE), float(exact) * weight)
        if (values := run(program)) is not None:
            relayed = round(program.solver.Objective().Value() / step)
            found[key] = relayed, Settled(_shares(values[0], exact), list(key))
    best = sorted(found.values(), key=lambda pair: pair[0])
    return [settled for relayed, settled in best if relayed <= best[0][0] + _MOST_STEPS]


def _shares(values: Floats, unit: Fraction) -> list[Fraction]:
    """The floats as rationals: bandwidths are whole, so shares are multiples of what a unit of data has in common with
    1, or of halves of that, as all rows add and subtract."""
    whole = unit.denominator * (1 if _near(values * unit.denominator) else 2)
    return [Fraction(int(value), whole) for value in np.rint(values * whole)]


def _near(values: Floats) -> bool:
    return bool((np.abs(values - np.rint(values)) < _WHOLE).all())
