"""The optimum of one phase: the cut that bounds it, and how many trees on how many slots reach that bound."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.collective import Collective
from collsched.errors import UnreachableError
from collsched.forest.problem import Problem, directions, problem
from collsched.topology.model import Topology

Arrays = tuple[
    int,
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.uint8],
    NDArray[np.uint8],
]


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

    `k` trees per unit of weight on ⌊U·bandwidth⌋ slots per link reach ratio = U / k if `certified`. Where it is
    not, some switch could only keep pace by sending more than it receives. Ratio 0: nothing has to move.
    """

    ratio: Fraction
    cut: Cut | None
    k: int
    U: Fraction
    certified: bool


def arrays(problem: Problem, capacity: NDArray[np.int64] | None = None) -> Arrays:
    """The problem as the native core takes it, with other capacities (slots) if given."""
    return (
        problem.nodes,
        problem.src,
        problem.dst,
        problem.capacity if capacity is None else capacity,
        problem.weight,
        problem.terminal,
        problem.rank,
    )


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
    ratio = Fraction(weight, exit_capacity)  # per unit of integer capacity
    common = int(np.gcd.reduce(problem.capacity))
    divisor = gcd(ratio.denominator, common)
    return Optimum(
        ratio * problem.scale,
        cut,
        ratio.denominator // divisor,
        Fraction(ratio.numerator * problem.scale, divisor),
        packable(problem),
    )


def excess_egress(problem: Problem, capacity: NDArray[np.int64]) -> NDArray[np.int64]:
    """[nodes] How much more each relay may send than it receives; 0 for terminals."""
    out = np.zeros(problem.nodes, np.int64)
    np.add.at(out, problem.src, capacity)
    np.subtract.at(out, problem.dst, capacity)
    out[problem.terminal != 0] = 0
    return np.maximum(out, 0)


def packable(problem: Problem) -> bool:
    """Whether the cut bound is reached for sure: no relay sends more than it receives, or there is one terminal."""
    return int(problem.terminal.sum()) == 1 or not excess_egress(problem, problem.capacity).any()


def check_reachable(topology: Topology, collective: Collective) -> None:
    """Raises UnreachableError, with a witness, unless every shard can reach every rank that must receive it."""
    for reverse in directions(collective.kind):
        instance = problem(topology, collective, reverse=reverse)
        weight, exit_capacity, side = _core.optimum(*arrays(instance), None)
        if weight > 0 and exit_capacity == 0:
            raise UnreachableError(_unreachable(instance, side, topology))


def _unreachable(problem: Problem, side: NDArray[np.uint8], topology: Topology | None = None) -> str:
    """Names one node whose data is confined and one that it cannot reach."""
    confined = int(np.flatnonzero((side != 0) & (problem.weight > 0))[0])
    missed = int(np.flatnonzero((side == 0) & (problem.terminal != 0))[0])
    source, target = (missed, confined) if problem.reversed else (confined, missed)
    if topology is None:
        names, where = (f"node {source}", f"node {target}"), ""
    else:
        names = (topology.nodes[source].name, topology.nodes[target].name)
        where = f"{topology.source or topology.name}: "
    inside = [i for i in range(problem.nodes) if bool(side[i]) != problem.reversed]
    named = [topology.nodes[i].name if topology else str(i) for i in inside]
    listed = ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
    return (
        f"{where}rank {names[1]} cannot be reached from rank {names[0]}: no link leaves {{{listed}}}. "
        "Add a link out of that set, or leave one of the two ranks out with --group."
    )
