"""Packing a forest at the cut bound: construct and certify first, the guaranteed pipeline if that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from collsched import _core
from collsched.errors import InputError
from collsched.forest.branching import branching
from collsched.forest.guaranteed import from_native, guaranteed
from collsched.forest.model import Forest, Routes
from collsched.forest.optimum import Optimum, arrays
from collsched.forest.problem import Problem
from collsched.forest.slots import Slots, best_for_k, exact_slots, floor_slots
from collsched.forest.tidy import tidy

Pipeline = Literal["auto", "fast", "guaranteed"]

_ATTEMPTS = 4  # constructions with other seeds and other nests before the guaranteed pipeline is asked


def pack(
    problem: Problem,
    optimum: Optimum,
    *,
    k: int | None = None,
    seed: int = 0,
    pipeline: Pipeline = "auto",
) -> Forest:
    """Trees that carry every shard at the optimum's ratio, or the best ratio for `k` trees per unit of weight.

    "fast" constructs trees on physical routes within ⌊U·bandwidth⌋ slots a link, where what fits is optimal
    whatever found it; "guaranteed" removes switches, packs and lifts; "auto" asks the second where the first fails.
    Trees branch at switches that can, where that costs nothing; see `tidy` for those that do without.
    Equal arguments give equal forests. Raises InputError where `pipeline` is "fast" and finds nothing.
    """
    if not problem.weight.any() or problem.terminal.sum() + (problem.weight > 0).sum() < 2:
        return _empty(problem, k or 1)
    if problem.terminal.sum() > 1 and (spanned := branching(problem, optimum.reached)) is not None:
        forest = _pack_spanning(problem, spanned, optimum, k, seed, pipeline)
        if forest is not None:
            return forest
    slots = exact_slots(problem, optimum) if k is None else best_for_k(problem, optimum, k)
    if slots is None:
        slots = best_for_k(problem, optimum, optimum.k)
    if pipeline != "guaranteed" and problem.terminal.sum() > 1:
        forest = construct(problem, slots, seed)
        if forest is not None:
            return forest
    if pipeline == "fast":
        raise InputError("the fast pipeline found no forest at the bound; use --pipeline auto or guaranteed")
    return guaranteed(problem, slots.capacity, slots.k)


def _pack_spanning(
    problem: Problem, spanned: Problem, optimum: Optimum, k: int | None, seed: int, pipeline: Pipeline
) -> Forest | None:
    """Trees that span some switches too, unless as many trees without them are faster."""
    try:
        slots = exact_slots(spanned, optimum) if k is None else best_for_k(spanned, optimum, k)
    except InputError:
        return None
    if slots is None or (k is not None and slots.U > best_for_k(problem, optimum, k).U):
        return None
    return tidy(problem, pack(spanned, replace(optimum, trimmed=None), k=k, seed=seed, pipeline=pipeline))


def construct(problem: Problem, slots: Slots, seed: int, attempts: int = _ATTEMPTS) -> Forest | None:
    """The fast pipeline alone: a forest within ⌊U·bandwidth⌋ slots a link, or None if no attempt finds one."""
    found, _ = _core.construct(*arrays(problem, floor_slots(problem, slots.U)), slots.k, seed, attempts)
    return None if found is None else from_native(problem, slots.k, found)


def _empty(problem: Problem, k: int) -> Forest:
    """No data has to move: one rank, or no weight."""
    none = np.zeros(0, np.int64)
    roots = np.flatnonzero(problem.weight > 0).astype(np.int32)
    return Forest(
        "in" if problem.reversed else "out",
        k,
        roots,
        k * problem.weight[roots],
        np.zeros(len(roots) + 1, np.int64),
        none.astype(np.uint32),
        Routes(np.zeros(1, np.int64), none.astype(np.int32)),
    )
