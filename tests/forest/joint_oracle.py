"""The joint allreduce in exact arithmetic and by force: every cut is a row; the simplex method runs on fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

from collsched.collective import Collective
from collsched.topology.model import Topology

Row = dict[int, Fraction]


def best_rate(topology: Topology, collective: Collective) -> Fraction:
    """The largest rate in GB/s at which trees carry both halves at once. Variables: y of the broadcast, then of the
    reduction, a link each; then x, one for each rank of the group."""
    links, nodes = topology.links, range(len(topology.nodes))
    group = [topology.ranks[rank] for rank in collective.group]
    root = {v: 2 * len(links) + i for i, v in enumerate(group)}
    rows: list[tuple[Row, Fraction]] = []
    for i, link in enumerate(links):
        rows.append(({i: Fraction(1), len(links) + i: Fraction(1)}, link.bandwidth))
    for first, ends in ((0, [(a.src, a.dst) for a in links]), (len(links), [(a.dst, a.src) for a in links])):
        for size in range(1, len(nodes)):
            for inside in map(set, combinations(nodes, size)):
                if inside & set(group) and set(group) - inside:
                    row = {root[v]: Fraction(1) for v in inside & set(group)}
                    row |= {first + i: Fraction(-1) for i, (a, b) in enumerate(ends) if a in inside and b not in inside}
                    rows.append((row, Fraction(0)))
        for relay in set(nodes) - set(group):
            balance = {first + i: Fraction(1) for i, (a, _) in enumerate(ends) if a == relay}
            balance |= {first + i: Fraction(-1) for i, (_, b) in enumerate(ends) if b == relay}
            rows.append((balance, Fraction(0)))
    return maximum({v: Fraction(1) for v in root.values()}, rows)


def maximum(goal: Row, rows: list[tuple[Row, Fraction]]) -> Fraction:
    """max goal·x over x ≥ 0 with row·x ≤ limit, all limits ≥ 0: the simplex method with Bland's rule.

    A row of the dictionary reads: basic variable = limit − Σ coefficient · other variables.
    """
    slack = 1 + max(v for row, _ in [*rows, (goal, None)] for v in row)
    table = {slack + i: (dict(row), limit) for i, (row, limit) in enumerate(rows)}
    value, goal = Fraction(0), dict(goal)
    while rising := [v for v, gain in goal.items() if gain > 0]:
        enters = min(rising)
        bound = [(limit / row[enters], v) for v, (row, limit) in table.items() if row.get(enters, 0) > 0]
        _, leaves = min(bound)
        row, limit = table.pop(leaves)
        scale = 1 / row.pop(enters)
        solved = {v: a * scale for v, a in row.items()} | {leaves: scale}, limit * scale
        for v, (other, rest) in table.items():
            if factor := other.pop(enters, Fraction(0)):
                table[v] = _minus(other, factor, solved[0]), rest - factor * solved[1]
        gain = goal.pop(enters)
        goal, value = _minus(goal, gain, solved[0]), value + gain * solved[1]
        table[enters] = solved
    return value


def _minus(row: Row, factor: Fraction, other: Row) -> Row:
    result = dict(row)
    for v, a in other.items():
        result[v] = result.get(v, Fraction(0)) - factor * a
    return {v: a for v, a in result.items() if a}
