"""Switches that multicast or reduce, as nodes of trees (docs/algorithms.md, lemma 17).

Which of them a tree uses is a matter of choice. Trees that use the same ones are spanning trees of the ranks *and*
these switches, so that packing them is a problem of the known kind: the switches are terminals of no weight.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.forest.classes import classes
from collsched.forest.problem import Problem, arrays

_MOST_SEEDS = 64  # of one class of switches

Mask = NDArray[np.bool_]


def able(problem: Problem) -> Mask:
    """[nodes] The switches at which trees may branch."""
    switches: Mask = (problem.copies != 0) & (problem.rank == 0)
    return switches


def spanning(problem: Problem, switches: Mask) -> Problem:
    """The problem of trees that span these switches too, and branch at no others."""
    rank = problem.rank | switches.astype(np.uint8)
    return replace(problem, terminal=problem.terminal | switches.astype(np.uint8), rank=rank, copies=rank)


def branching(problem: Problem, ratio: Fraction) -> Problem | None:
    """The problem of trees that span as many switches as can be at `ratio`; None if that is none.

    A cut that exceeds the ratio misses switches alone: those are given up, and the rest is tried again.
    """
    switches = able(problem)
    while switches.any():
        candidate = spanning(problem, switches)
        weight, exit_capacity, side = _core.optimum(*arrays(candidate), None)
        if exit_capacity and Fraction(weight * problem.scale, exit_capacity) <= ratio:
            return candidate
        switches &= side != 0
    return None


def joins(problem: Problem, label: Mapping[int, str]) -> bool:
    """Whether from some switch at which trees may branch, data reaches ranks of every label through switches alone."""
    leaving: list[list[int]] = [[] for _ in range(problem.nodes)]
    for tail, head in zip(problem.src.tolist(), problem.dst.tolist(), strict=True):
        leaving[tail].append(head)
    wanted, done = set(label.values()), set[int]()
    for switch in np.flatnonzero(able(problem)).tolist():
        queue = [switch] if switch not in done else []
        known = set(queue)
        for node in queue:
            queue += (near := [head for head in leaving[node] if head not in known and not problem.rank[node]])
            known.update(near)
        if wanted <= {label[node] for node in known if node in label}:
            return True
        done |= {node for node in known if not problem.rank[node]}
    return False


def choices(problem: Problem) -> list[Mask]:
    """Sets of switches of which each is good for some tree: all of them, those of short trees, none.

    A short tree starts at a switch and takes the nearest rank, one after the other. On planes or rails side by side the
    trees from different switches differ; where two of a class agree, the others are not tried.
    """
    switches = able(problem)
    found = [switches]
    node_class, _ = classes(problem)
    for number in np.unique(node_class[switches]).tolist():
        seeds = np.flatnonzero(switches & (node_class == number))[:_MOST_SEEDS].tolist()
        sets = [_used(problem, switches, seed) for seed in seeds[:2]]
        if len(sets) == 2 and (sets[0] != sets[1]).any():
            sets += [_used(problem, switches, seed) for seed in seeds[2:]]
        found += sets
    found.append(np.zeros(problem.nodes, bool))
    return [mask for i, mask in enumerate(found) if not any((mask == other).all() for other in found[:i])]


def _used(problem: Problem, switches: Mask, seed: int) -> Mask:
    """The switches at which a short tree from `seed` branches (the heuristic of Takahashi and Matsuyama, 1980)."""
    holds = (problem.rank != 0) | switches
    before = np.full(problem.nodes, -1)
    joined = np.zeros(problem.nodes, bool)
    degree = np.zeros(problem.nodes, int)
    joined[seed] = True
    for terminal in _nearest(problem, joined, before):
        path = [terminal]
        while not joined[path[-1]]:
            path.append(int(before[path[-1]]))
        branches = [node for node in path if holds[node]]
        joined[branches] = True
        for one, two in pairwise(branches):
            degree[[one, two]] += 1
    used: Mask = switches & (degree > 2)
    return used


def _nearest(problem: Problem, joined: Mask, before: NDArray[np.int64]) -> Iterator[int]:
    """Terminals by distance from the nodes joined so far, until all are; `before` leads back. Thin links are long."""
    leaving: list[list[tuple[int, float]]] = [[] for _ in range(problem.nodes)]
    for tail, head, capacity in zip(*(a.tolist() for a in (problem.src, problem.dst, problem.capacity)), strict=True):
        if capacity:
            leaving[tail].append((head, 1 / capacity))
    distance = [float("inf")] * problem.nodes
    queue: list[tuple[float, int]] = []
    sources = set[int]()

    def start() -> None:
        for node in np.flatnonzero(joined).tolist():
            if node not in sources:
                sources.add(node)
                distance[node] = 0.0
                heapq.heappush(queue, (0.0, node))

    start()
    while queue:
        far, node = heapq.heappop(queue)
        if far > distance[node]:
            continue
        if problem.terminal[node] and not joined[node]:
            yield node
            start()
            continue
        for head, length in leaving[node]:
            if far + length < distance[head] and not joined[head]:
                distance[head], before[head] = far + length, node
                heapq.heappush(queue, (far + length, head))
