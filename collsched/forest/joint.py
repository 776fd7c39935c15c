"""An allreduce planned as a whole: where the data meets, and how its two halves share every link (lemma 14).

In a reduce-scatter and then an allgather every link waits for the fullest one of either phase, and equal shares meet at
all ranks. Planned together, reduction and broadcast run at once on shares of the links' bandwidths, and the roots have
the weights that suit the fabric.
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
from collsched.forest.classes import classes
from collsched.forest.joint_program import Columns, Solution, solve
from collsched.forest.mirror import opposite_links
from collsched.forest.optimum import Optimum, optimum
from collsched.forest.problem import MOST_SLOTS, Problem, problem
from collsched.topology.model import Topology

_DENOMINATORS = (1, 60, 10_000, 1 << 24)  # of the rationals that floats are taken for, in turn
_CLOSE = 1e-6  # relative: a rate this far below the program's is worth another try
_EXACT_LINKS = 1500  # up to which the program is solved link by link, should regularity not have sufficed

Ints = NDArray[np.int64]
Shares = list[Fraction]  # one a variable


@dataclass(frozen=True, slots=True)
class Joint:
    """A plan of an allreduce of M bytes that takes M / `rate`: in-trees on `halves[0]`, out-trees on `halves[1]`.

    `collective` has the root weights as shard sizes. The halves' capacities are their shares of the links, which
    together are within the links' bandwidths; `optima` are theirs, each at `ratio` = W / `rate` or less.
    `limit`: the rate that no trees can beat (switches only forward), if that is proven; rates in GB/s.
    `opposite`: where it is given, the first half is the mirror image of the second (see `forest.mirror`).
    """

    collective: Collective
    halves: tuple[Problem, Problem]
    optima: tuple[Optimum, Optimum]
    limit: Fraction | None
    opposite: NDArray[np.int32] | None

    @property
    def ratio(self) -> Fraction:
        """The time per unit of weight that trees reach, both halves at once, in 1/(GB/s)."""
        return max(half.reached for half in self.optima)

    @property
    def rate(self) -> Fraction:
        """Bytes per time that trees reach, in GB/s."""
        return sum(self.collective.shards) / self.ratio


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
    out = problem(topology, collective, reverse=False)
    opposite = opposite_links(topology)
    best: Joint | None = None
    for columns in _attempts(topology, collective, out, opposite):
        solution = solve(columns)
        if solution is None:
            continue
        found = _exact(topology, collective, columns, solution, opposite)
        if found is not None and (best is None or found.rate > best.rate):
            best = found
        if best is not None and best.rate >= proven:
            return replace(best, limit=proven)
        if best is not None and len(set(columns.share[0].tolist())) == len(topology.links):
            best = replace(best, limit=_limit(columns, solution, opposite))
    return best


def _attempts(
    topology: Topology, collective: Collective, out: Problem, opposite: NDArray[np.int32] | None
) -> Iterator[Columns]:
    """Like links and ranks treated alike; then, on small fabrics, each on its own.

    At first with equal shares of both directions of a cable, if there are: trees that may use either are shallow.
    """
    halves = (out,) if opposite is not None else (problem(topology, collective, reverse=True), out)
    unit = int(np.gcd.reduce(out.capacity))
    node_class, arc_class = classes(out)
    if opposite is not None:
        cables = np.sort(np.stack([arc_class, arc_class[opposite]], axis=1), axis=1)
        cable_class = np.unique(cables, axis=0, return_inverse=True)[1].astype(np.int64).reshape(-1)
        yield _columns(halves, node_class, cable_class, opposite, unit)
    yield _columns(halves, node_class, arc_class, opposite, unit)
    if len(topology.links) <= _EXACT_LINKS and arc_class.max() + 1 < len(arc_class):
        yield _columns(halves, np.arange(out.nodes), np.arange(len(arc_class)), opposite, unit)


def _columns(
    halves: tuple[Problem, ...], node_class: Ints, arc_class: Ints, opposite: NDArray[np.int32] | None, unit: int
) -> Columns:
    root = np.full(len(node_class), -1, np.int64)
    terminals = np.flatnonzero(halves[0].terminal)
    root[terminals] = np.unique(node_class[terminals], return_inverse=True)[1]
    if opposite is not None:
        return Columns(halves, (arc_class,), arc_class[opposite], root, unit)
    other = arc_class + int(arc_class.max()) + 1
    return Columns(halves, (arc_class, other), other, root, unit)


def _exact(
    topology: Topology,
    collective: Collective,
    columns: Columns,
    solution: Solution,
    opposite: NDArray[np.int32] | None,
) -> Joint | None:
    """The solution in rationals, the simplest that keep its rate; judged by integer flows."""
    goal = solution.rate * columns.unit / columns.halves[0].scale
    best: Joint | None = None
    for denominator in _DENOMINATORS:
        share = [Fraction(value).limit_denominator(denominator) for value in solution.share.tolist()]
        root = [Fraction(value).limit_denominator(denominator) for value in solution.root.tolist()]
        found = _judge(topology, collective, columns, share, root, opposite)
        if found is not None and (best is None or found.rate > best.rate):
            best = found
        if best is not None and float(best.rate) >= goal * (1 - _CLOSE):
            break
    return best


def _judge(
    topology: Topology,
    collective: Collective,
    columns: Columns,
    share: Shares,
    root: Shares,
    opposite: NDArray[np.int32] | None,
) -> Joint | None:
    """What these shares and roots reach, exactly; None if they break a link's bandwidth, or outgrow 64 bits."""
    weights = _weights(topology, collective, columns, root)
    if weights is None or min(share) < 0:
        return None
    factor = lcm(*(value.denominator for value in share))
    counts = [int(value * factor) * columns.unit for value in share]
    first = columns.halves[0]
    if max(counts) * len(first.capacity) >= MOST_SLOTS or factor * int(first.capacity.sum()) >= MOST_SLOTS:
        return None
    amount = np.array(counts, np.int64)
    if (amount[columns.share[0]] + amount[columns.partner] > factor * first.capacity).any():
        return None
    joint_collective = replace(collective, shards=weights)
    halves = []
    for half, of_arc in enumerate((columns.share[0], columns.partner) if opposite is None else (columns.share[0],)):
        blank = problem(topology, joint_collective, reverse=columns.halves[half].reversed)
        halves.append(replace(blank, capacity=amount[of_arc], scale=blank.scale * factor))
    if opposite is not None:
        blank = problem(topology, joint_collective, reverse=True)
        halves.insert(0, replace(blank, capacity=amount[columns.partner], scale=blank.scale * factor))
    if any(excess_egress(half).any() for half in halves):
        return None  # rounded so coarsely that some relay would have to send more than it receives
    try:
        optima = (optimum(halves[0]), optimum(halves[1]))
    except UnreachableError:
        return None
    return Joint(joint_collective, (halves[0], halves[1]), optima, None, opposite)


def _weights(topology: Topology, collective: Collective, columns: Columns, root: Shares) -> tuple[int, ...] | None:
    """The root weights as coprime integers, in the order of the group."""
    values = [root[columns.root[topology.ranks[rank]]] for rank in collective.group]
    factor = lcm(*(value.denominator for value in values))
    whole = [int(value * factor) for value in values]
    common = gcd(*whole)
    if min(whole) < 0 or common == 0 or sum(whole) // common > MAX_TOTAL_WEIGHT:
        return None
    return tuple(value // common for value in whole)


def _limit(columns: Columns, solution: Solution, opposite: NDArray[np.int32] | None) -> Fraction | None:
    """A rate in GB/s that no trees can beat, from any prices ≥ 0: weak duality, in exact arithmetic (lemma 14)."""
    largest = max(float(solution.cut_price.max()), *(float(price.max()) for price in solution.relay_price))
    if largest <= 0:
        return None
    unit = float(solution.cut_price[solution.cut_price > _CLOSE * largest].min())

    def rational(price: float) -> Fraction:
        return Fraction(price / unit).limit_denominator(10_000)

    first = columns.halves[0]
    gain = [Fraction(0)] * first.nodes
    prices = []
    for half, relay_price in zip(columns.halves, solution.relay_price, strict=True):
        relay = [rational(price) for price in relay_price.tolist()]
        prices.append([relay[head] - relay[tail] for tail, head in zip(half.src, half.dst, strict=True)])
    for (number, side), price in zip(solution.cuts, solution.cut_price.tolist(), strict=True):
        if not (at := rational(price)):
            continue
        half = columns.halves[number]
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
