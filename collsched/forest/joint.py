"""An allreduce planned as a whole: where the data meets, and how its two halves share every link (lemma 14).

In a reduce-scatter and then an allgather every link waits for the fullest one of either phase, and equal shards meet at
all ranks. Planned together, reduction and broadcast run at once on shares of the links' bandwidths, and the roots have
the weights that suit the fabric. Switches that multicast and reduce are used by trees that branch there (lemma 17):
several pairs of halves, one for each choice of switches, share the links.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm

import numpy as np
from numpy.typing import NDArray

from collsched.collective import MAX_TOTAL_WEIGHT, Collective
from collsched.errors import UnreachableError
from collsched.forest.balance import excess_egress
from collsched.forest.bounds import Bound
from collsched.forest.branching import able, choices, joins, spanning
from collsched.forest.joint_program import Columns, Solution, solve
from collsched.forest.joint_roots import settle
from collsched.forest.joint_variables import Variables, assign
from collsched.forest.mirror import mirrored, opposite_links
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum, optimum
from collsched.forest.packing import Pipeline, pack
from collsched.forest.problem import MOST_SLOTS, Problem, problem
from collsched.forest.slots import slots
from collsched.forest.tidy import tidy, together
from collsched.topology.model import Topology

_DENOMINATORS = (1, 60, 10_000, 1 << 24)  # of the rationals that floats are taken for, in turn
_CLOSE = 1e-6  # relative: a rate this far below the program's is worth another try
_EXACT_LINKS = 1500  # up to which the program is solved link by link, should regularity not have sufficed

Halves = tuple[Problem, Problem]  # in-trees, out-trees
Ints = NDArray[np.int64]
Shares = list[Fraction]  # one a variable


@dataclass(frozen=True, slots=True)
class Pair:
    """In-trees on `halves[0]` and out-trees of the same roots on `halves[1]`, which have shares of the links'
    bandwidths. Their optima have the ratio W / rate or less, W and rate being those of all pairs together."""

    halves: Halves
    optima: tuple[Optimum, Optimum]


@dataclass(frozen=True, slots=True)
class Joint:
    """A plan of an allreduce of M bytes that takes M / `rate`, all pairs at once.

    `collective` has the root weights of all pairs as shard sizes. The halves' capacities together are within the links'
    bandwidths. `limit`: the rate that no trees can beat (switches only forward), if that is proven; rates in GB/s.
    `opposite`: where it is given, the first half of a pair is the mirror image of the second (see `forest.mirror`).
    """

    collective: Collective
    pairs: tuple[Pair, ...]
    limit: Fraction | None
    opposite: NDArray[np.int32] | None

    @property
    def ratio(self) -> Fraction:
        """The time per unit of weight that trees reach, all at once, in 1/(GB/s)."""
        return max(half.reached for pair in self.pairs for half in pair.optima)

    @property
    def rate(self) -> Fraction:
        """Bytes per time that trees reach, in GB/s."""
        return sum(self.collective.shards) / self.ratio

    def forests(self, topology: Topology, *, seed: int, pipeline: Pipeline) -> tuple[Forest, Forest]:
        """In-trees and out-trees at this rate."""

        def packed(half: int) -> Forest:
            found = [pack(pair.halves[half], pair.optima[half], seed=seed, pipeline=pipeline) for pair in self.pairs]
            return tidy(problem(topology, self.collective, reverse=half == 0), together(found))

        away = packed(1)
        return packed(0) if self.opposite is None else mirrored(away, self.opposite), away


@dataclass(frozen=True, slots=True)
class Ways:
    """Two ways of running the phases of an allreduce: one after the other at the rate `two_phases`, or both at once.

    `joint` is None where nothing moves, or two phases meet the proven bound. Rates are in GB/s.
    """

    two_phases: Fraction | None
    joint: Joint | None

    @property
    def winner(self) -> Joint | None:
        """The joint allreduce, if it is the faster one."""
        return self.joint if self.joint is not None and self.joint.rate > (self.two_phases or 0) else None

    @property
    def rate(self) -> Fraction | None:
        return self.two_phases if self.winner is None else self.winner.rate


def ways(topology: Topology, collective: Collective, phases: Sequence[Optimum], bound: Bound) -> Ways:
    """Both ways of an allreduce with equal shards. `phases` are the optima of a reduce-scatter and an allgather.

    `bound` is as from `allreduce_bound`. Where the phases meet it, as on equal boxes, nothing is searched for.
    """
    weight, ratio = sum(collective.shards), sum((phase.reached for phase in phases), Fraction(0))
    if not ratio or ratio <= bound.ratio:
        return Ways(weight / ratio if ratio else None, None)
    return Ways(weight / ratio, joint(topology, collective, proven=weight / bound.ratio))


def joint(topology: Topology, collective: Collective, *, proven: Fraction) -> Joint | None:
    """The best allreduce by trees whose halves share the links; None if the search finds none.

    What is returned is exact, whatever found it. `proven` is a rate in GB/s that nothing can beat: once
    it is reached, the search ends. The shard sizes of `collective` do not count; its group does.
    """
    plain = (problem(topology, collective, reverse=True), problem(topology, collective, reverse=False))
    opposite = opposite_links(topology)
    best: Joint | None = None
    helped = _helped(plain)
    done = False  # whether roots have been settled as well
    for variables in _attempts(topology, plain, opposite):
        if best is not None and best.rate >= proven and variables.grain == "link":
            break
        solution = solve(variables.columns)
        if solution is None:
            continue
        found, settled = _planned(topology, collective, variables, solution, choose=not helped)
        if found is not None and (best is None or (found.rate, settled) > (best.rate, done)):
            best, done = found, settled
        if best is not None and best.rate >= proven and done:
            break
        if best is not None and variables.grain == "link" and not helped:
            best = replace(best, limit=_limit(variables.columns, solution, opposite))
    return replace(best, limit=proven) if best is not None and best.rate >= proven else best


def _planned(
    topology: Topology, collective: Collective, variables: Variables, solution: Solution, *, choose: bool
) -> tuple[Joint | None, bool]:
    """The plan that a solution amounts to; and whether nothing is left to choose about its roots (unless `choose`)."""
    found = _exact(topology, collective, variables, solution)
    columns = variables.columns
    if found is None or len(columns.worth) == 1 or not choose:
        return found, True
    rate = found.rate * variables.pairs[0][0].scale / columns.unit
    for settled in settle(columns, solution, rate, _hosts(topology)):
        even = _judge(topology, collective, variables, settled.share, [*map(Fraction, settled.root)])
        if even is not None and even.rate >= found.rate and _single(even):
            return even, True
    return found, False


def _single(found: Joint) -> bool:
    """Whether one tree per unit of weight is enough."""
    fits = (slots(pair.halves[i], pair.optima[i].reached, 1) for pair in found.pairs for i in (0, 1))
    return all(found is not None for found in fits)


def _attempts(topology: Topology, plain: Halves, opposite: NDArray[np.int32] | None) -> Iterator[Variables]:
    """Like links and ranks treated alike; then, on small fabrics, each on its own."""
    group = np.flatnonzero(plain[0].terminal)
    families = [[plain]]
    if _helped(plain):
        families = _families(plain)
        for roots in _few(topology, plain[0]):
            for pairs in families:
                yield assign(pairs, roots, opposite, "class")
    elif opposite is not None:
        # Equal shares of both directions of a cable: trees that may use either are shallow.
        yield assign([plain], group, opposite, "cable")
    for pairs in families:
        yield assign(pairs, group, opposite, "class")
    for pairs in families:
        if len(plain[0].src) * len(pairs) <= _EXACT_LINKS:
            yield assign(pairs, group, opposite, "link")


def _helped(plain: Halves) -> bool:
    """Whether trees may branch at some switch."""
    return any(able(half).any() for half in plain)


def _hosts(topology: Topology) -> Ints:
    """[nodes] The number of each node's host; without one, a rank is a host of its own, and a switch is in none."""
    numbers: dict[str, int] = {}
    names = [node.host or (node.name if node.kind == "rank" else None) for node in topology.nodes]
    return np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names])


def _few(topology: Topology, half: Problem) -> list[Ints]:
    """Few roots make few trees, and they are often enough where some switch joins all hosts: the ranks of one host, or
    one rank. Elsewhere the trees of few roots are deep."""
    group = np.flatnonzero(half.terminal)
    hosts = [topology.nodes[v].host or topology.nodes[v].name for v in group]
    if not joins(half, dict(zip(group.tolist(), hosts, strict=True))):
        return []
    inside = group[[host == hosts[0] for host in hosts]]
    return [inside, group[:1]] if 1 < len(inside) < len(group) else [group[:1]]


def _families(plain: Halves) -> list[list[Halves]]:
    """Which switches trees may branch at, a pair of halves for each choice: every tree at all of them; or some here,
    some there."""
    switches = [able(half) for half in plain]
    sets = choices(replace(plain[1], copies=plain[0].copies | plain[1].copies))
    pairs = [(spanning(plain[0], some & switches[0]), spanning(plain[1], some & switches[1])) for some in sets]
    return [pairs[:1], pairs]


def _exact(
    topology: Topology,
    collective: Collective,
    variables: Variables,
    solution: Solution,
) -> Joint | None:
    """The solution in rationals, the simplest that keep its rate; judged by integer flows."""
    goal = solution.rate * variables.columns.unit / variables.pairs[0][0].scale
    best: Joint | None = None
    for denominator in _DENOMINATORS:
        share = [Fraction(value).limit_denominator(denominator) for value in solution.share.tolist()]
        root = [Fraction(value).limit_denominator(denominator) for value in solution.root.tolist()]
        found = _judge(topology, collective, variables, share, root)
        if found is not None and (best is None or found.rate > best.rate):
            best = found
        if best is not None and float(best.rate) >= goal * (1 - _CLOSE):
            break
    return best


def _judge(
    topology: Topology, collective: Collective, variables: Variables, share: Shares, root: Shares
) -> Joint | None:
    """What these shares and roots reach, exactly; None if they break a link's bandwidth, or outgrow 64 bits."""
    weights = _weights(topology, collective, variables, root)
    if weights is None or min(share) < 0:
        return None
    columns = variables.columns
    factor = lcm(*(value.denominator for value in share))
    counts = [int(value * factor) * columns.unit for value in share]
    capacity = variables.pairs[0][0].capacity
    if max(counts) * columns.loads.size >= MOST_SLOTS or factor * int(capacity.sum()) >= MOST_SLOTS:
        return None
    amount = np.array(counts, np.int64)
    if (amount[columns.loads].sum(axis=0) > factor * capacity).any():
        return None
    pairs = []
    for halves, shares, weight in zip(variables.pairs, variables.shares, weights, strict=True):
        if weight.any():
            scaled = tuple(
                replace(half, weight=weight, capacity=amount[of_arc], scale=half.scale * factor)
                for half, of_arc in zip(halves, shares, strict=True)
            )
            pairs.append((scaled[0], scaled[1]))
    # Rounded so coarsely that some relay would have to send more than it receives?
    if any(excess_egress(half).any() for halves in pairs for half in halves):
        return None
    try:
        judged = tuple(Pair(halves, (optimum(halves[0]), optimum(halves[1]))) for halves in pairs)
    except UnreachableError:
        return None
    total = np.sum(weights, axis=0)
    shards = tuple(int(total[topology.ranks[rank]]) for rank in collective.group)
    return Joint(replace(collective, shards=shards), judged, None, variables.opposite)


def _weights(
    topology: Topology, collective: Collective, variables: Variables, root: Shares
) -> list[NDArray[np.int64]] | None:
    """[nodes] The root weights of each pair, as integers that are coprime all together."""
    nodes = [topology.ranks[rank] for rank in collective.group]
    variable = [[int(of_node[node]) for node in nodes] for of_node in variables.roots]
    values = [[root[number] if number >= 0 else Fraction(0) for number in row] for row in variable]
    factor = lcm(*(value.denominator for row in values for value in row))
    whole = [[int(value * factor) for value in row] for row in values]
    common = gcd(*(value for row in whole for value in row))
    lowest = min(min(row) for row in whole)
    if lowest < 0 or common == 0 or sum(map(sum, whole)) // common > MAX_TOTAL_WEIGHT:
        return None
    weights = np.zeros((len(values), len(topology.nodes)), np.int64)
    weights[:, nodes] = np.array(whole, object) // common
    return list(weights)


def _limit(columns: Columns, solution: Solution, opposite: NDArray[np.int32] | None) -> Fraction | None:
    """A rate in GB/s that no trees can beat, from any prices ≥ 0: weak duality, in exact arithmetic (lemma 14)."""
    largest = max(float(solution.cut_price.max()), *(float(price.max()) for price in solution.relay_price))
    if largest <= 0:
        return None
    unit = float(solution.cut_price[solution.cut_price > _CLOSE * largest].min())

    def rational(price: float) -> Fraction:
        return Fraction(price / unit).limit_denominator(10_000)

    halves = [half.problem for half in columns.halves]
    first = halves[0]
    gain = [Fraction(0)] * first.nodes
    prices = []
    for half, relay_price in zip(halves, solution.relay_price, strict=True):
        relay = [rational(price) for price in relay_price.tolist()]
        prices.append([relay[head] - relay[tail] for tail, head in zip(half.src, half.dst, strict=True)])
    for (number, side), price in zip(solution.cuts, solution.cut_price.tolist(), strict=True):
        if not (at := rational(price)):
            continue
        half = halves[number]
        for v in np.flatnonzero(side):
            gain[v] += at
        for arc in np.flatnonzero(side[half.src] & ~side[half.dst]):
            prices[number][arc] += at
    if opposite is not None:
        prices.append([prices[0][i] for i in opposite])
        gain = [2 * value for value in gain]
    least = min(gain[v] for v in np.flatnonzero(first.terminal))
    highest = [max(Fraction(0), *pair) for pair in zip(*prices, strict=True)]
    paid = sum((p * int(c) for p, c in zip(highest, first.capacity, strict=True)), Fraction(0))
    return paid / least / first.scale if least > 0 else None
