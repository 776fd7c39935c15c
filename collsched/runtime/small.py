"""Small calls of the shm engine: what a rank adds up by itself if it has the inputs of all.

The additions are found by running the plan's programs in the interpreter, on symbols instead of numbers. What stands in
a rank's working buffer at the end is an expression over the inputs of all ranks, in the plan's order:

    chunk 0 of every rank   ((x0 + x1) + x2) + x3
    chunk 1 of every rank   ((x1 + x0) + x2) + x3

So whoever evaluates it gets, to the last bit, what the transfers of the program would have brought.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Kind
from collsched.runtime.engine import Executable, RankPlan
from collsched.runtime.interpreter import execute

Sums = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
RANKS = 32  # beyond, everybody reading from everybody is slower than the hops of a program
INSTRUCTIONS = 1 << 14  # of all ranks: finding the sums of more takes too long
_KINDS = (Kind.ALLREDUCE, Kind.REDUCE_SCATTER, Kind.REDUCE)  # in which every rank gives the whole buffer


class _Term:
    __slots__ = ()

    def __add__(self, other: _Term) -> _Term:
        return _Sum(self, other)


@dataclass(frozen=True, slots=True)
class _Input(_Term):
    rank: int


@dataclass(frozen=True, slots=True)
class _Sum(_Term):
    left: _Term
    right: _Term


def sums(rank_plan: RankPlan) -> Sums:
    """The sums of every chunk that a rank gets, in registers as in csrc/engine/small.h: where those of each chunk
    begin; into, left, right. All empty for a plan whose small calls are executed like all others."""
    plan, schedule, role = rank_plan.wiring.plan, rank_plan.wiring.schedule, rank_plan.role
    ranks, chunks = len(plan.topology.ranks), len(schedule.chunks.shard)
    begin, lines = [0], list[tuple[int, int, int]]()
    every = rank_plan.wiring.programs if _worthwhile(plan, ranks) else ()
    sound = all((program.chunk < chunks).all() for program in every)  # else the engine refuses it
    if sound and 0 < sum(map(len, every)) <= INSTRUCTIONS:
        buffers = [np.array([_Input(rank)] * chunks, object) for rank in range(ranks)]
        execute(every, buffers, (np.arange(chunks), np.arange(chunks) + 1), "sum")
        for term, got in zip(buffers[rank_plan.rank], role.got[schedule.chunks.shard], strict=True):
            lines += _lines(term, ranks) if got else []
            begin.append(len(lines))
    into, left, right = np.array(lines, np.int32).reshape(-1, 3).T.copy()
    return np.array(begin if len(begin) > 1 else [], np.int64), into, left, right


def _worthwhile(plan: Executable, ranks: int) -> bool:
    return plan.collective.kind in _KINDS and 1 < ranks == len(plan.collective.group) and ranks <= RANKS


def _lines(term: _Term, target: int) -> list[tuple[int, int, int]]:
    """(into, left, right) of the sums that bring the value of `term` into register `target`; those beyond are free."""
    if not isinstance(term, _Sum):
        return []
    left, right = (
        side.rank if isinstance(side, _Input) else register
        for side, register in ((term.left, target), (term.right, target + 1))
    )
    return [*_lines(term.left, target), *_lines(term.right, target + 1), (target, left, right)]
