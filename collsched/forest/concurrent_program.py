"""Maximum concurrent flow as a linear program, one commodity a source."""

from __future__ import annotations

import numpy as np

from collsched.forest.fabric import Fabric, Floats


def solve(fabric: Fabric) -> tuple[Floats, Floats] | None:
    """The flow that loads the fullest link least, and the [links] prices that prove it, both in floats; None if the
    solver gives up.

    Minimise the load z such that for each source s and node v ≠ s as much more enters v as v wants of s, and
    for each link the flows of all sources are at most z · capacity.
    """
    from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

    solver = pywraplp.Solver.CreateSolver("GLOP")
    links, sources = len(fabric.src), fabric.sources.tolist()
    capacity = (fabric.capacity / float(fabric.capacity.max())).tolist()
    unit = float(fabric.demand.max())  # amounts near 1 suit the solver
    full = solver.NumVar(0, solver.infinity(), "")
    rows = [solver.Constraint(0, solver.infinity()) for _ in range(links)]
    for link, row in enumerate(rows):
        row.SetCoefficient(full, capacity[link])
    variables = []
    for source, demand in zip(sources, fabric.demand.tolist(), strict=True):
        wanted = dict(zip(sources, demand, strict=True))
        balance = [
            None if v == source else solver.Constraint(wanted.get(v, 0) / unit, wanted.get(v, 0) / unit)
            for v in range(fabric.nodes)
        ]
        flows = []
        for row, tail, head in zip(rows, fabric.src.tolist(), fabric.dst.tolist(), strict=True):
            flow = solver.NumVar(0, 0 if head == source else solver.infinity(), "")
            row.SetCoefficient(flow, -1)
            for node, sign in ((tail, -1), (head, 1)):
                at = balance[node]
                if at is not None:
                    at.SetCoefficient(flow, sign)
            flows.append(flow)
        variables.append(flows)
    solver.Objective().SetCoefficient(full, 1)
    solver.Objective().SetMinimization()
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return None
    amounts = np.array([[flow.solution_value() for flow in flows] for flows in variables]) * unit
    return np.maximum(amounts, 0), np.maximum([row.dual_value() for row in rows], 0)
