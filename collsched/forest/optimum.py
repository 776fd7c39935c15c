"""The optimum of one phase: the cut that bounds it, and how many trees on how many slots reach that bound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.collective import Collective, Kind
from collsched.errors import InputError, UnreachableError
from collsched.forest.balance import balance, excess_egress
from collsched.forest.balance import ratio as trimmed_ratio
from collsched.forest.branching import branching
from collsched.forest.problem import Problem, directions, floor_slots, problem
from collsched.forest.problem import arrays as arrays
from collsched.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Cut:
    """A set of nodes that data must leave. `side` is ascending node ids, `exit_bandwidth` in GB/s.

    In a reversed problem the links counted are those that enter `side` in the fabric.
    """

    side: tuple[int, ...]
    weight_inside: int
    exit_bandwidth: Fraction


@dataclass(frozen=True, slots=True)
class Optimum:
    """`ratio` bounds the time per unit of weight from below: T ≥ (M / W)·ratio, in 1/(GB/s), proven by `cut`.

    `k` trees per unit of weight on ⌊U·bandwidth⌋ slots per link take U / k, the best that is known to be reachable:
    `ratio` itself if `certified`. Where it is not, a relay (a switch, or a rank outside the group) could keep pace
    only by sending more than it receives; `limit` is what no schedule beats whose switches only forward, proven by a
    linear program. `trimmed`: the problem with bandwidths that can be used in full, or with trees that branch at
    switches, where the problem itself has no trees at this rate. Ratio 0: nothing has to move.
    """

    ratio: Fraction
    cut: Cut | None
    k: int
    U: Fraction
    certified: bool
    limit: Fraction | None = None
    trimmed: Problem | None = field(default=None, compare=False, repr=False)
    prices: tuple[int, ...] | None = None  # of an all-to-all: what proves `ratio`, a whole number a link (lemma 12)

    @property
    def proven(self) -> Fraction:
        """The best proven bound on the time per unit of weight, in 1/(GB/s)."""
        return self.ratio if self.limit is None else self.limit

    @property
    def reached(self) -> Fraction:
        """The time per unit of weight that trees reach, in 1/(GB/s)."""
        return self.U / self.k


def optimum(problem: Problem, *, group: NDArray[np.int32] | None = None) -> Optimum:
    """The largest w(S) / B⁺(S) over node sets S that miss a terminal (docs/algorithms.md, lemmas 1 to 3).

    `group` may label nodes (a host's number, -1 for none) whose cuts are tried first; the result does not depend on it.
    Raises UnreachableError if some data cannot reach a terminal.
    """
    weight, exit_capacity, side = _core.optimum(*arrays(problem), group)
    if weight == 0:
        return Optimum(Fraction(0), None, 1, Fraction(0), True)
    if exit_capacity == 0:
        raise UnreachableError(_unreachable(problem, side))
    cut = Cut(tuple(np.flatnonzero(side).tolist()), weight, Fraction(exit_capacity, problem.scale))
    ratio = cut.weight_inside / cut.exit_bandwidth
    k, slots_per_bandwidth = trees(problem, ratio)
    exact = Optimum(ratio, cut, k, slots_per_bandwidth, True)
    if _packable(problem, exact):
        return exact
    spanned = branching(problem, ratio)
    if spanned is not None and _packable(spanned, exact):
        return replace(exact, trimmed=spanned)
    balanced = balance(problem, side != 0)
    if balanced is None:
        return replace(exact, certified=False)
    reached = trimmed_ratio(balanced.trimmed)
    k, slots_per_bandwidth = trees(balanced.trimmed, reached)
    return Optimum(ratio, cut, k, slots_per_bandwidth, reached == ratio, max(ratio, balanced.limit), balanced.trimmed)


def trees(problem: Problem, ratio: Fraction) -> tuple[int, Fraction]:
    """The least k, and U = k·ratio, for which U·bandwidth is an integer on every link (lemma 3)."""
    per_capacity = ratio / problem.scale
    k = per_capacity.denominator // gcd(per_capacity.denominator, int(np.gcd.reduce(problem.capacity)))
    return k, ratio * k


def _packable(problem: Problem, optimum: Optimum) -> bool:
    """Whether the cut bound is reached: there is one terminal, or no relay sends more than it receives, at least once
    slots that the cuts can spare are trimmed away."""
    if int(problem.terminal.sum()) == 1 or not excess_egress(problem).any():
        return True
    try:
        full = floor_slots(problem, optimum.U)
    except InputError:
        return False
    return _core.trimmed_slots(*arrays(problem, full), optimum.k) is not None


def check_reachable(topology: Topology, collective: Collective) -> None:
    """Raises UnreachableError, with a witness, unless every shard can reach every rank that must receive it."""
    if collective.kind is Kind.ALL_TO_ALL and 0 in collective.shards:
        _check_pairs(topology, collective)
        return
    for reverse in directions(collective.kind):
        instance = problem(topology, collective, reverse=reverse)
        weight, exit_capacity, side = _core.optimum(*arrays(instance), None)
        if weight > 0 and exit_capacity == 0:
            raise UnreachableError(_unreachable(instance, side, topology))


def _check_pairs(topology: Topology, collective: Collective) -> None:
    """The same for an all-to-all in which some pairs exchange nothing, and need not reach each other."""
    count = len(collective.group)
    instance = problem(topology, collective, reverse=False)
    nodes = np.array([topology.ranks[rank] for rank in collective.group])
    wanted = np.array(collective.shards).reshape(count, count) > 0
    for source, targets in zip(nodes.tolist(), wanted, strict=True):
        reached = _reached(instance, source)
        missed = nodes[targets & ~reached[nodes]]
        if len(missed):
            weight, terminal = np.zeros_like(instance.weight), np.zeros_like(instance.terminal)
            weight[source], terminal[missed[0]] = 1, 1
            alone = replace(instance, weight=weight, terminal=terminal)
            raise UnreachableError(_unreachable(alone, reached.astype(np.uint8), topology))


def _reached(problem: Problem, source: int) -> NDArray[np.bool_]:
    """Which nodes a path from the source reaches."""
    reached = np.zeros(problem.nodes, bool)
    reached[source] = True
    count = 0
    while count < (count := int(reached.sum())):
        reached[problem.dst[reached[problem.src]]] = True
    return reached


def _unreachable(problem: Problem, side: NDArray[np.uint8], topology: Topology | None = None) -> str:
    """Names one node whose data is confined and one that it cannot reach."""
    confined = int(np.flatnonzero((side != 0) & (problem.weight > 0))[0])
    missed = int(np.flatnonzero((side == 0) & (problem.terminal != 0))[0])
    source, target = (missed, confined) if problem.reversed else (confined, missed)
    if topology is None:
        names, where = (f"node {source}", f"node {target}"), ""
    else:
        names = (topology.nodes[source].name, topology.nodes[target].name)
        where = f"{topology.where(target)}: "
    inside = [i for i in range(problem.nodes) if bool(side[i]) != problem.reversed]
    named = [topology.nodes[i].name if topology else str(i) for i in inside]
    listed = ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
    return (
        f"{where}rank {names[1]} cannot be reached from rank {names[0]}: no link leaves {{{listed}}}. "
        "Add a link out of that set, or leave one of the two ranks out with --group."
    )
