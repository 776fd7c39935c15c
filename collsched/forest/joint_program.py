"""The linear program of an allreduce whose two halves share the fabric (docs/algorithms.md, lemma 14).

    max Σ x   such that   y⁺(S) ≥ x(S)          for every half, and every S that misses a terminal
                          y(into v) ≥ y(out of v)   for every half and relay v
                          Σ y(e) over the halves ≤ c(e), x ≥ 0, y ≥ 0

x(v) is the data that meets at rank v, y(e) the share of link e that a half may use. The halves are out-trees on the
fabric and on its reverse; there may be several such pairs, whose trees branch at different switches. The cuts are
generated as a solution violates them. Floats only guide: see `joint`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.forest.problem import Problem

_ROUNDS = 500  # of cut generation
_MOST_CUTS = 64  # a round and half
_CLOSE = 1e-7  # relative
_GRID = 1 << 50  # capacities and weights of the floats that cuts are looked for in

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Half:
    """One half of a pair: share[i] is the variable of arc i, root[v] that of node v's data, −1 where none may start."""

    problem: Problem
    share: Ints  # [arcs]
    root: Ints  # [nodes]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which variable stands for which quantity. Several arcs, or several ranks, may share one.

    halves: those whose cuts are looked for; the others look like one of them, or like its mirror image.
    loads[:, i]: the variables that have to fit into arc i together, those of all halves.
    worth: how much data each root variable stands for, in all pairs. `unit`: capacity that counts as 1.
    """

    halves: tuple[Half, ...]
    loads: Ints  # [halves and mirror images, arcs]
    worth: Ints  # [roots]
    unit: int

    @property
    def shares(self) -> int:
        return int(self.loads.max()) + 1


@dataclass(frozen=True, slots=True)
class Solution:
    """In `Columns.unit`s: `share` and `root` a variable each, and the cuts with their prices."""

    rate: float
    share: Floats
    root: Floats
    cuts: tuple[tuple[int, Mask], ...]  # (half, side)
    cut_price: Floats
    relay_price: tuple[Floats, ...]  # [nodes] for each half, 0 for terminals


@dataclass(slots=True)
class Program:
    """The rows and variables of the solver."""

    columns: Columns
    solver: Any
    total: list[Any] = field(default_factory=list)  # [halves] all data of a half
    share: list[Any] = field(default_factory=list)
    root: list[Any] = field(default_factory=list)
    cuts: list[tuple[int, Mask]] = field(default_factory=list)
    cut_rows: list[Any] = field(default_factory=list)
    relay_rows: list[dict[tuple[tuple[int, int], ...], Any]] = field(default_factory=list)
    known: set[tuple[Any, ...]] = field(default_factory=set)


def solve(columns: Columns) -> Solution | None:
    """The optimum, up to rounding; None if the search does not end."""
    program = start(columns)
    for variable, worth in zip(program.root, columns.worth.tolist(), strict=True):
        program.solver.Objective().SetCoefficient(variable, worth)
    program.solver.Objective().SetMaximization()
    values = run(program)
    return None if values is None else _solution(program, *values)


def run(program: Program) -> tuple[Floats, Floats] | None:
    """The values of the share and root variables once no cut is violated; None if that is not reached."""
    columns = program.columns
    for _ in range(_ROUNDS):
        if program.solver.Solve() != program.solver.OPTIMAL:
            return None
        share = np.array([variable.solution_value() for variable in program.share])
        root = np.array([variable.solution_value() for variable in program.root])
        found = [(half, side) for half in range(len(columns.halves)) for side in _violated(columns, half, share, root)]
        if not sum(add_cut(program, half, side) for half, side in found):
            return share, root
    return None


def start(columns: Columns) -> Program:
    """All rows but the cuts, and those of single terminals; no objective."""
    from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

    program = Program(columns, pywraplp.Solver.CreateSolver("GLOP"))
    solver, infinity = program.solver, program.solver.infinity()
    program.share = [solver.NumVar(0, infinity, "") for _ in range(columns.shares)]
    program.root = [solver.NumVar(0, infinity, "") for _ in columns.worth]
    _add_links(program)
    for number, half in enumerate(columns.halves):
        _add_total(program, half)
        program.relay_rows.append({})
        _add_relays(program, number)
        for v in np.flatnonzero(half.problem.terminal).tolist():
            alone = np.arange(half.problem.nodes) == v
            add_cut(program, number, alone)
            add_cut(program, number, ~alone)
    return program


def _add_links(program: Program) -> None:
    """One row for all links of one bandwidth with the same variables."""
    columns = program.columns
    rows = np.vstack([np.sort(columns.loads, axis=0), columns.halves[0].problem.capacity])
    for *terms, capacity in np.unique(rows, axis=1).T.tolist():
        row = program.solver.Constraint(-program.solver.infinity(), capacity / columns.unit)
        for column, count in Counter(terms).items():
            row.SetCoefficient(program.share[column], count)


def _add_total(program: Program, half: Half) -> None:
    total = program.solver.NumVar(0, program.solver.infinity(), "")
    row = program.solver.Constraint(0, 0)
    row.SetCoefficient(total, 1)
    for column, count in zip(*np.unique(half.root[half.root >= 0], return_counts=True), strict=True):
        row.SetCoefficient(program.root[int(column)], -int(count))
    program.total.append(total)


def _add_relays(program: Program, half: int) -> None:
    """One row for all relays with the same variables around them."""
    for key in set(_relay_keys(program.columns, half).values()):
        row = program.solver.Constraint(-program.solver.infinity(), 0)
        for column, coefficient in key:
            row.SetCoefficient(program.share[column], coefficient)
        program.relay_rows[half][key] = row


def _relay_keys(columns: Columns, half: int) -> dict[int, tuple[tuple[int, int], ...]]:
    """Relay → its share variables with how many more of them leave it than enter it."""
    problem = columns.halves[half].problem
    excess: dict[int, dict[int, int]] = {int(v): {} for v in np.flatnonzero(problem.terminal == 0)}
    ends = zip(problem.src.tolist(), problem.dst.tolist(), columns.halves[half].share.tolist(), strict=True)
    for tail, head, column in ends:
        for v, sign in ((tail, 1), (head, -1)):
            if v in excess:
                excess[v][column] = excess[v].get(column, 0) + sign
    return {v: tuple(sorted(terms.items())) for v, terms in excess.items()}


def add_cut(program: Program, half: int, side: Mask) -> bool:
    """The row y⁺(S) ≥ x(S), written as y⁺(S) + x(V ∖ S) ≥ Σ x where that is shorter. False if it is there already."""
    here = program.columns.halves[half]
    problem = here.problem
    inside = side & (here.root >= 0)
    outside = ~side & (here.root >= 0)
    if not inside.any() or not (~side & (problem.terminal != 0)).any():
        return False
    crossing = side[problem.src] & ~side[problem.dst]
    shares = np.unique(here.share[crossing], return_counts=True)
    far = outside.sum() < inside.sum()
    roots = np.unique(here.root[outside if far else inside], return_counts=True)
    key = (half if far else -1, *(tuple(part.tolist()) for part in (*shares, *roots)))
    if key in program.known:
        return False
    program.known.add(key)
    row = program.solver.Constraint(0, program.solver.infinity())
    for column, count in zip(*(part.tolist() for part in shares), strict=True):
        row.SetCoefficient(program.share[column], count)
    for column, count in zip(*(part.tolist() for part in roots), strict=True):
        row.SetCoefficient(program.root[column], count if far else -count)
    if far:
        row.SetCoefficient(program.total[half], -1)
    program.cuts.append((half, side))
    program.cut_rows.append(row)
    return True


def _violated(columns: Columns, half: int, share: Floats, root: Floats) -> list[Mask]:
    here = columns.halves[half]
    problem = here.problem
    loads = np.maximum(share[here.share], 0)
    data = np.where(here.root >= 0, np.maximum(root, 0)[here.root], 0)
    if not data.any():
        return []
    grid = _GRID / max(1.0, float(loads.sum()), float(data.sum()))
    slack = _CLOSE * float(data.sum()) / max(len(loads), 1)
    slots = np.floor((loads * (1 + _CLOSE) + slack) * grid).astype(np.int64)
    weight = np.floor(data * grid).astype(np.int64)
    ends = (problem.nodes, problem.src, problem.dst)
    sides = _core.violated_cuts(*ends, slots, weight, problem.terminal, problem.rank, 1, _MOST_CUTS)
    return [np.asarray(side != 0) for side in sides]


def _solution(program: Program, share: Floats, root: Floats) -> Solution:
    columns = program.columns
    relay_price = []
    for half, here in enumerate(columns.halves):
        price = np.zeros(here.problem.nodes)
        keys = _relay_keys(columns, half)
        alike: dict[tuple[tuple[int, int], ...], int] = {}
        for key in keys.values():
            alike[key] = alike.get(key, 0) + 1
        for v, key in keys.items():
            price[v] = abs(program.relay_rows[half][key].dual_value()) / alike[key]
        relay_price.append(price)
    cut_price = np.array([abs(row.dual_value()) for row in program.cut_rows])
    return Solution(float(columns.worth @ root), share, root, tuple(program.cuts), cut_price, tuple(relay_price))
