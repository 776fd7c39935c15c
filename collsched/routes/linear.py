"""The linear program of fractional routing as GLOP takes it, at a vertex.

    Σ_{i of k} x_i = d_k    and    b_e + Σ_{i ∋ e} x_i ≤ U · c_e    and    0 ≤ x_i ≤ u_i

minimise U; or, where U is given, Σ_i w_i · x_i. A vertex has at most one positive x_i below its u_i for each row that
is not slack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.routes.model import F64, I64


@dataclass(frozen=True, slots=True)
class Rows:
    """Variable i belongs to commodity owner[i]; variable[j] loads link[j]. Sizes and bytes in one unit, rates in
    another: U is the quotient of the two."""

    owner: I64  # [variables]
    sizes: F64  # [commodities] d
    variable: I64
    link: I64
    fixed: F64  # [links] b
    rates: F64  # [links] c


@dataclass(frozen=True, slots=True)
class Solution:
    """Values of the variables, and the dual of the row of each link in `links`; None of a program that GLOP cannot
    solve."""

    values: F64
    links: list[int]
    duals: list[float]


def least_congestion(rows: Rows) -> Solution:
    """The vertex with the least U."""
    found = _solve(rows, None, None, None)
    # An even spread is a solution, and U is at least 0, so there is an optimum; numbers may still defeat GLOP.
    if found is None:
        count = np.bincount(rows.owner, minlength=len(rows.sizes))
        return Solution((rows.sizes / np.maximum(count, 1))[rows.owner], [], [])
    return found


def least_cost(rows: Rows, congestion: float, cost: F64, upper: F64) -> Solution | None:
    """The vertex of least Σ cost · x with U = congestion and x ≤ upper; None where there is none."""
    return _solve(rows, congestion, cost, upper)


def _solve(rows: Rows, congestion: float | None, cost: F64 | None, upper: F64 | None) -> Solution | None:
    from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

    solver = pywraplp.Solver.CreateSolver("GLOP")
    if congestion is None:
        top = solver.NumVar(float((rows.fixed / rows.rates).max(initial=0.0)), solver.infinity(), "")
    else:
        top = solver.NumVar(congestion, congestion, "")
    most = [solver.infinity()] * len(rows.owner) if upper is None else upper.tolist()
    columns = [solver.NumVar(0.0, limit, "") for limit in most]
    sums = [solver.Constraint(size, size) for size in rows.sizes.tolist()]
    for owner, column in zip(rows.owner.tolist(), columns, strict=True):
        sums[owner].SetCoefficient(column, 1.0)
    links, constraints = _link_rows(solver, top, columns, rows)
    if cost is None:
        solver.Minimize(top)
    else:
        objective = solver.Objective()
        for column, each in zip(columns, cost.tolist(), strict=True):
            objective.SetCoefficient(column, each)
        objective.SetMinimization()
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return None
    values = np.array([column.solution_value() for column in columns])
    return Solution(np.maximum(values, 0.0), links, [abs(constraint.dual_value()) for constraint in constraints])


def _link_rows(solver: Any, top: Any, columns: list[Any], rows: Rows) -> tuple[list[int], list[Any]]:
    """A row for each link that some variable loads."""
    order: NDArray[np.int64] = np.lexsort((rows.variable, rows.link))
    links, constraints = list[int](), list[Any]()
    row, current = None, -1
    for link, variable in zip(rows.link[order].tolist(), rows.variable[order].tolist(), strict=True):
        if row is None or link != current:
            current = link
            row = solver.Constraint(-solver.infinity(), -float(rows.fixed[link]))
            row.SetCoefficient(top, -float(rows.rates[link]))
            links.append(link)
            constraints.append(row)
        row.SetCoefficient(columns[variable], 1.0)
    return links, constraints
