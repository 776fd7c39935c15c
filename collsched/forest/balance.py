"""Fabrics in which some relay may send more than it receives: the best rate whose loads can be routed (lemma 10)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.forest.problem import MOST_SLOTS, Problem, arrays

_ROUNDS = 200  # cuts generated at most
_CLOSE = 1e-9  # relative; floats only guide the search, every claim is checked in exact arithmetic
_DENOMINATOR = 10_000  # of the rationals that floats are taken for

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Balanced:
    """`trimmed` has the capacities lowered so that no relay sends more than it receives. No schedule whose switches
    only forward takes less than `limit` per unit of weight, in 1/(GB/s)."""

    trimmed: Problem
    limit: Fraction


@dataclass(frozen=True, slots=True)
class _Solution:
    loads: Floats  # [arcs]
    cut_price: Floats  # [cuts]
    relay_price: Floats  # [nodes], 0 for terminals


def balance(problem: Problem, first_cut: Mask) -> Balanced | None:
    """The trimmed capacities with the largest rate: a linear program whose cuts are generated as they are violated.

    max x such that w(S)·x ≤ y⁺(S) for every node set S that misses a terminal, y(into v) ≥ y(out of v) for every
    relay v, 0 ≤ y ≤ capacity. None if the search does not end, or its solution is no exact one of small denominators.
    """
    cuts = [first_cut, *_single_cuts(problem)]
    best: Problem | None = None
    limit = Fraction(0)
    for _ in range(_ROUNDS):
        solution = _solve(problem, cuts)
        if solution is None:
            break
        trimmed = _exact(problem, solution.loads)
        cut = _worst_cut(problem, solution.loads)
        if trimmed is not None and _better(trimmed, best):
            best = trimmed
        if any((cut == known).all() for known in cuts):
            limit = _proven(problem, cuts, solution)
            break
        cuts.append(cut)
    return None if best is None else Balanced(best, limit)


def _single_cuts(problem: Problem) -> list[Mask]:
    """Everything but one terminal, for each terminal with something to receive."""
    total = problem.weight.sum()
    everywhere = np.ones(problem.nodes, bool)
    cuts = []
    for v in np.flatnonzero((problem.terminal != 0) & (problem.weight < total)).tolist():
        cut = everywhere.copy()
        cut[v] = False
        cuts.append(cut)
    return cuts


def _solve(problem: Problem, cuts: list[Mask]) -> _Solution | None:
    from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

    solver = pywraplp.Solver.CreateSolver("GLOP")
    infinity = solver.infinity()
    rate = solver.NumVar(0, infinity, "")
    loads = [solver.NumVar(0, float(c), "") for c in problem.capacity]
    cut_rows = []
    for cut in cuts:
        row = solver.Constraint(-infinity, 0)
        row.SetCoefficient(rate, float(problem.weight[cut].sum()))
        for arc in np.flatnonzero(cut[problem.src] & ~cut[problem.dst]).tolist():
            row.SetCoefficient(loads[arc], -1)
        cut_rows.append(row)
    relay_rows = {int(v): solver.Constraint(-infinity, 0) for v in np.flatnonzero(problem.terminal == 0)}
    for arc, (tail, head) in enumerate(zip(problem.src.tolist(), problem.dst.tolist(), strict=True)):
        if tail in relay_rows:
            relay_rows[tail].SetCoefficient(loads[arc], 1)
        if head in relay_rows:
            relay_rows[head].SetCoefficient(loads[arc], -1)
    solver.Objective().SetCoefficient(rate, 1)
    solver.Objective().SetMaximization()
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return None
    relay_price = np.zeros(problem.nodes)
    for relay, row in relay_rows.items():
        relay_price[relay] = abs(row.dual_value())
    return _Solution(
        np.array([load.solution_value() for load in loads]),
        np.array([abs(row.dual_value()) for row in cut_rows]),
        relay_price,
    )


def _worst_cut(problem: Problem, loads: Floats) -> Mask:
    """The node set that limits the rate most under these loads, rounded down to a fine grid."""
    grid = float(1 << 50) / max(1.0, float(loads.sum()))
    fine = np.maximum(np.floor(loads * grid * (1 - _CLOSE)), 0).astype(np.int64)
    _, _, side = _core.optimum(*arrays(problem, fine))
    return np.asarray(side != 0)


def _exact(problem: Problem, loads: Floats) -> Problem | None:
    """Loads as rationals of small denominators, if they are exactly balanced then."""
    rational = [Fraction(load).limit_denominator(_DENOMINATOR) for load in loads.tolist()]
    factor = lcm(*(load.denominator for load in rational))
    if factor * int(problem.capacity.sum()) >= MOST_SLOTS:
        return None
    capacity = np.array([int(load * factor) for load in rational], np.int64)
    if (capacity < 0).any() or (capacity > problem.capacity * factor).any():
        return None
    trimmed = replace(problem, capacity=capacity, scale=problem.scale * factor)
    return None if excess_egress(trimmed).any() else trimmed


def _better(trimmed: Problem, best: Problem | None) -> bool:
    return best is None or ratio(trimmed) < ratio(best)


def ratio(problem: Problem) -> Fraction:
    """The optimum's ratio in 1/(GB/s); more than any number can be, if some data cannot move at all."""
    weight, exit_capacity, _ = _core.optimum(*arrays(problem))
    return Fraction(weight * problem.scale, exit_capacity) if exit_capacity else Fraction(MOST_SLOTS)


def excess_egress(problem: Problem) -> NDArray[np.int64]:
    """[nodes] How much more each relay may send than it receives, in capacity; 0 for terminals."""
    excess = np.zeros(problem.nodes, np.int64)
    np.add.at(excess, problem.src, problem.capacity)
    np.subtract.at(excess, problem.dst, problem.capacity)
    excess[problem.terminal != 0] = 0
    return np.maximum(excess, 0)


def _proven(problem: Problem, cuts: list[Mask], solution: _Solution) -> Fraction:
    """A lower bound on the time per unit of weight in 1/(GB/s), from any prices ≥ 0: weak duality, in exact arithmetic.

    Nodes that can copy may send more than they receive: their price is 0.
    """
    largest = max(solution.cut_price.max(), solution.relay_price.max())
    if largest <= 0:
        return Fraction(0)
    unit = solution.cut_price[solution.cut_price > _CLOSE * largest].min()
    cut_price = [Fraction(p / unit).limit_denominator(_DENOMINATOR) for p in solution.cut_price.tolist()]
    relay_price = [
        Fraction(0) if copies else Fraction(p / unit).limit_denominator(_DENOMINATOR)
        for p, copies in zip(solution.relay_price.tolist(), problem.copies.tolist(), strict=True)
    ]
    price = [relay_price[head] - relay_price[tail] for tail, head in zip(problem.src, problem.dst, strict=True)]
    weighed = Fraction(0)
    for cut, at in zip(cuts, cut_price, strict=True):
        if at > 0:
            weighed += at * int(problem.weight[cut].sum())
            for arc in np.flatnonzero(cut[problem.src] & ~cut[problem.dst]):
                price[arc] += at
    paid = sum((p * int(c) for p, c in zip(price, problem.capacity, strict=True) if p > 0), Fraction(0))
    return weighed * problem.scale / paid if paid else Fraction(0)
