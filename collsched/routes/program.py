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

import numpy as np

from collsched.routes.bounds import forced_ports
from collsched.routes.linear import Rows, least_congestion
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

    @property
    def paths(self) -> I64:
        """[variables] the path of each, commodity after commodity."""
        return np.arange(self.variables) - np.repeat(np.cumsum(self.count) - self.count - self.begin, self.count)


@dataclass(frozen=True, slots=True)
class Vertex:
    """A vertex of the program: seconds, bytes of each variable, and a proven limit of the same program."""

    seconds: float
    bytes: F64  # [variables] commodity after commodity, path after path
    proven: Fraction


def solve(network: Network, commodities: Commodities, background: I64) -> Vertex:
    """The best spreading of the commodities beside `background` (bytes on each link)."""
    rows, unit, fixed = rows_of(network, commodities, background)
    found = least_congestion(rows)
    values = found.values * unit
    loads = fixed + np.bincount(rows.link, weights=values[rows.variable], minlength=len(fixed))
    seconds = float((loads / network.rate).max(initial=0.0))
    proven = _certificate(network, commodities, (rows.variable, rows.link), fixed, found.links, found.duals)
    return Vertex(seconds, values, proven)


def rows_of(network: Network, commodities: Commodities, background: I64) -> tuple[Rows, float, I64]:
    """The program, the bytes of its unit, and the bytes on each link that stay whatever it chooses."""
    owner = np.repeat(np.arange(len(commodities.count)), commodities.count)
    path = commodities.paths
    member = np.zeros(len(commodities.count), np.int64)
    member[commodities.owner] = commodities.parts.flow
    entry, link = network.crossings(member[owner], path)
    access = np.concatenate(network.access(member[owner], path))
    shared = forced_ports(network)[network.paths.pair[member]]
    # The ranks' links of a shared commodity are those of each of its flows, and take all of their bytes.
    of_ranks = np.zeros(len(network.topology.links), bool)
    of_ranks[access] = True
    keep = np.flatnonzero(~(shared[owner[entry]] & of_ranks[link]))
    variable, link = entry[keep], link[keep]
    fixed = background + _on_ports(network, commodities.parts.take(np.flatnonzero(shared[commodities.owner])))
    even = (commodities.bytes / commodities.count)[owner]
    loads = fixed + np.bincount(link, weights=even[variable], minlength=len(fixed))
    # Values near 1: rates over their median, bytes over what that rate carries in the time of an even spread.
    median = float(np.median(network.rate))
    unit = median * max(float((loads / network.rate).max(initial=0.0)), 1e-30)
    sizes, rates = commodities.bytes / unit, network.rate / median
    return Rows(owner, sizes, variable, link, fixed / unit, rates), unit, fixed


def _on_ports(network: Network, parts: Subflows) -> I64:
    """[links] what these parts put on their ranks' own links, where they have no choice of them."""
    path = network.paths.begin[network.paths.pair[parts.flow]]
    up, down = network.access(parts.flow, path)
    switched = np.flatnonzero(network.first[path] >= 0)
    loads = np.zeros(len(network.topology.links), np.int64)
    np.add.at(loads, up, parts.bytes)
    np.add.at(loads, down[switched], parts.bytes[switched])
    return loads


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
