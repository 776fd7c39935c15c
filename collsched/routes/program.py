"""The linear program of fractional routing (T4), solved at a vertex, and the certificate of its optimum.

    minimise U   subject to   Σ_p x_kp = d_k   and   b_e + Σ_{p ∋ e} x_kp ≤ U · c_e

k are commodities: flows between the same groups of ranks are one, since their own links carry the same whatever the
paths; where a rank has a choice of ports, each flow is one. b is what other traffic puts on a link. A vertex
has at most one positive variable for each row that is not slack, so the commodities are cut (tight links − 1) times at
most.

Weak duality gives a limit that no rounding can spoil: for any weights y ≥ 0 with Σ y_e c_e = 1,
U ≥ Σ_e y_e b_e + Σ_k d_k · min_p Σ_{e ∈ p} y_e. The solver's duals, rounded to integers, are such weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from collsched.routes.bounds import forced_ports
from collsched.routes.model import F64, I64, Subflows
from collsched.routes.network import GIGA, Network

MOST_VARIABLES = 40_000
_DUAL_UNIT = 1 << 40


@dataclass(frozen=True, slots=True)
class Commodities:
    """Parts of flows, those that share their choices together. Part i belongs to commodity owner[i]."""

    parts: Subflows  # whose paths are not decided yet
    owner: I64
    begin: I64  # [commodities] first path
    count: I64  # [commodities] number of paths
    bytes: I64  # [commodities]

    @classmethod
    def of(cls, network: Network, parts: Subflows) -> Commodities:
        pair = network.paths.pair[parts.flow]
        ranks = len(network.topology.ranks)
        ends = network.flows.src[parts.flow].astype(np.int64) * ranks + network.flows.dst[parts.flow]
        key = pair * np.int64(ranks * ranks + 1) + np.where(forced_ports(network)[pair], ranks * ranks, ends)
        _, first, owner = np.unique(key, return_index=True, return_inverse=True)
        begin = network.paths.begin[pair[first]]
        total = np.zeros(len(first), np.int64)
        np.add.at(total, owner, parts.bytes)
        return cls(parts, owner, begin, network.paths.begin[pair[first] + 1] - begin, total)

    @property
    def variables(self) -> int:
        return int(self.count.sum())


@dataclass(frozen=True, slots=True)
class Vertex:
    """A vertex of the program: seconds, bytes of each variable, and a proven limit of the same program."""

    seconds: float
    bytes: F64  # [variables] commodity after commodity, path after path
    proven: Fraction


def solve(network: Network, commodities: Commodities, background: I64) -> Vertex:
    """The best spreading of the commodities beside `background` (bytes on each link)."""
    variable, link, fixed = _crossings(network, commodities, background)
    scale = float(np.median(network.rate)) * _guess(network, commodities, variable, link, fixed)
    values, duals, rows = _run(network, commodities, variable, link, fixed, scale)
    seconds = float(((fixed + _on_links(network, variable, link, values)) / network.rate).max(initial=0.0))
    return Vertex(seconds, values, _certificate(network, commodities, (variable, link), fixed, rows, duals))


def _crossings(network: Network, commodities: Commodities, background: I64) -> tuple[I64, I64, I64]:
    """(variable, link) wherever a variable loads a link that it might avoid; and the bytes that stay in any case."""
    owner = np.repeat(np.arange(len(commodities.count)), commodities.count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(commodities.count) - commodities.count, commodities.count)
    path = commodities.begin[owner] + within
    member = np.zeros(len(commodities.count), np.int64)
    member[commodities.owner] = commodities.parts.flow
    entry, link = network.crossings(member[owner], path)
    access = np.concatenate(network.access(member[owner], path))
    pair = network.paths.pair[member]
    shared = forced_ports(network)[pair]
    # The ranks' links of a shared commodity are those of each of its flows, and take all of their bytes.
    of_ranks = np.zeros(len(network.topology.links), bool)
    of_ranks[access] = True
    keep = ~(shared[owner[entry]] & of_ranks[link])
    fixed = background.copy()
    alone = np.flatnonzero(shared[commodities.owner])
    flow = commodities.parts.flow[alone]
    up, down = network.access(flow, network.paths.begin[network.paths.pair[flow]])
    switched = network.first[network.paths.begin[network.paths.pair[flow]]] >= 0
    np.add.at(fixed, up, commodities.parts.bytes[alone])
    np.add.at(fixed, down[switched], commodities.parts.bytes[alone][switched])
    return entry[keep], link[keep], fixed


def _on_links(network: Network, variable: I64, link: I64, values: F64) -> F64:
    return np.bincount(link, weights=values[variable], minlength=len(network.topology.links)).astype(np.float64)


def _guess(network: Network, commodities: Commodities, variable: I64, link: I64, fixed: I64) -> float:
    """Seconds of an even spread, to scale the program to values near 1."""
    even = np.repeat(commodities.bytes / commodities.count, commodities.count)
    return max(float(((fixed + _on_links(network, variable, link, even)) / network.rate).max(initial=0.0)), 1e-30)


def _run(
    network: Network, commodities: Commodities, variable: I64, link: I64, fixed: I64, scale: float
) -> tuple[F64, list[float], list[int]]:
    """(bytes of each variable, dual of each row, link of each row)."""
    from ortools.linear_solver import pywraplp  # type: ignore[import-untyped]

    solver = pywraplp.Solver.CreateSolver("GLOP")
    rate = network.rate / np.median(network.rate)
    unit = scale
    times = fixed / unit / rate
    top = solver.NumVar(float(times.max(initial=0.0)), solver.infinity(), "")
    columns = [solver.NumVar(0.0, solver.infinity(), "") for _ in range(commodities.variables)]
    starts = np.concatenate([[0], np.cumsum(commodities.count)]).tolist()
    for size, (low, high) in zip((commodities.bytes / unit).tolist(), pairwise(starts), strict=True):
        row = solver.Constraint(size, size)
        for column in columns[low:high]:
            row.SetCoefficient(column, 1.0)
    order = np.lexsort((variable, link))
    rows, constraints = [], []
    row, current = None, -1
    for on, column in zip(link[order].tolist(), variable[order].tolist(), strict=True):
        if on != current:
            current = on
            row = solver.Constraint(-solver.infinity(), -float(fixed[on]) / unit)
            row.SetCoefficient(top, -float(rate[on]))
            rows.append(on)
            constraints.append(row)
        row.SetCoefficient(columns[column], 1.0)
    solver.Minimize(top)
    solver.Solve()
    values = np.array([column.solution_value() for column in columns]) * unit
    return np.maximum(values, 0.0), [abs(constraint.dual_value()) for constraint in constraints], rows


def _certificate(
    network: Network,
    commodities: Commodities,
    crossings: tuple[I64, I64],
    fixed: I64,
    rows: list[int],
    duals: list[float],
) -> Fraction:
    """The limit that the duals prove, exactly; at least what the fixed traffic alone needs."""
    alone = network.congestion(fixed)
    weights = np.zeros(len(network.topology.links), object)
    weights[rows] = [round(dual * _DUAL_UNIT) for dual in duals]
    variable, link = crossings
    used = weights[link] != 0
    lengths = np.zeros(commodities.variables, object)
    np.add.at(lengths, variable[used], weights[link[used]])
    starts = np.cumsum(commodities.count) - commodities.count
    shortest = np.minimum.reduceat(lengths, starts) if len(starts) else np.zeros(0, object)
    total = sum(weight * int(fixed[on]) for on, weight in zip(rows, weights[rows], strict=True))
    total += sum(size * length for size, length in zip(commodities.bytes.tolist(), shortest, strict=True))
    below = sum(weight * int(network.capacity[on]) for on, weight in zip(rows, weights[rows], strict=True))
    return max(alone, Fraction(total * network.unit, below * GIGA)) if below else alone


def fill(commodities: Commodities, values: F64) -> Subflows:
    """Bytes that partition the parts and put `values` on the paths, within a byte each.

    Parts lie end to end, and so do the shares of the paths; every border of either cuts. n parts on k paths
    become n + k − 1 pieces at most.
    """
    starts = np.concatenate([[0], np.cumsum(commodities.count)])
    order = np.lexsort((-commodities.parts.bytes, commodities.owner))
    limits = np.searchsorted(commodities.owner[order], np.arange(len(commodities.count) + 1))
    flow, offset, size, path = [], [], [], []
    for number in range(len(commodities.count)):
        parts = order[limits[number] : limits[number + 1]]
        share = whole_bytes(values[starts[number] : starts[number + 1]], int(commodities.bytes[number]))
        chosen = np.argsort(-share, kind="stable")
        chosen = chosen[share[chosen] > 0]
        part_ends, path_ends = np.cumsum(commodities.parts.bytes[parts]), np.cumsum(share[chosen])
        ends = np.union1d(part_ends, path_ends)
        begins = np.concatenate([[0], ends[:-1]])
        at = np.searchsorted(part_ends, begins, side="right")
        flow.append(commodities.parts.flow[parts[at]])
        offset.append(commodities.parts.offset[parts[at]] + begins - (part_ends - commodities.parts.bytes[parts])[at])
        size.append(ends - begins)
        path.append(commodities.begin[number] + chosen[np.searchsorted(path_ends, begins, side="right")])
    return Subflows(*(np.concatenate(column).astype(np.int64) for column in (flow, offset, size, path)))


def whole_bytes(values: F64, total: int) -> I64:
    """Integers that sum to `total`, in proportion to `values` and within 1 of their share; a share below a byte may
    become 0."""
    shares: F64 = values * (total / values.sum()) if values.sum() > 0 else np.full(len(values), total / len(values))
    floors: I64 = np.floor(shares).astype(np.int64)
    missing = total - int(floors.sum())
    # Rounding errors may leave more than one byte a share on huge totals: the largest takes them.
    floors[np.argmax(shares)] += missing - min(max(missing, 0), len(values))
    missing = total - int(floors.sum())
    floors[np.argsort(floors - shares, kind="stable")[:missing]] += 1
    return floors
