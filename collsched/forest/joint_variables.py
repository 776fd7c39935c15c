"""Variables for the links and ranks of an allreduce planned as a whole: one for many that look alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collsched.forest.classes import colours, numbered, unordered
from collsched.forest.joint_program import Columns, Half
from collsched.forest.problem import Problem

Grain = Literal["cable", "class", "link"]  # from few variables to many

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Variables:
    """The program over `pairs` of halves (in-trees, out-trees) that share the links.

    shares[p]: the variable of each arc, for either half of pair p. roots[p]: that of each node's data, −1 where none
    starts. `grain`: what has a variable of its own. `opposite`: link → the link the other way, where in-trees are
    the mirror images of out-trees.
    """

    pairs: tuple[tuple[Problem, Problem], ...]
    shares: tuple[tuple[Ints, Ints], ...]
    roots: tuple[Ints, ...]
    columns: Columns
    grain: Grain
    opposite: NDArray[np.int32] | None


def assign(
    pairs: Sequence[tuple[Problem, Problem]], roots: Ints, opposite: NDArray[np.int32] | None, grain: Grain
) -> Variables:
    """One variable for each link; or for those of equal colours in all pairs; or for both directions of such too.

    The data meets at the nodes `roots`.
    """
    node, arc = _labels(pairs, roots, opposite, grain)
    away = list(arc)
    towards = list(arc[:, opposite]) if opposite is not None else list(arc + int(arc.max()) + 1)
    root = np.full(node.shape, -1, np.int64)
    root[:, roots] = numbered(node[:, roots])
    halves = []
    for p in _distinct(arc):
        if opposite is None:
            halves.append(Half(pairs[p][0], towards[p], root[p]))
        halves.append(Half(pairs[p][1], away[p], root[p]))
    columns = Columns(
        tuple(halves),
        np.array([*away, *towards]),
        np.bincount(root[root >= 0]),
        int(np.gcd.reduce(pairs[0][1].capacity)),
    )
    return Variables(tuple(pairs), tuple(zip(towards, away, strict=True)), tuple(root), columns, grain, opposite)


def _labels(
    pairs: Sequence[tuple[Problem, Problem]], roots: Ints, opposite: NDArray[np.int32] | None, grain: Grain
) -> tuple[Ints, Ints]:
    """([pairs, nodes], [pairs, arcs]) numbers of variables."""
    count, nodes, arcs = len(pairs), pairs[0][0].nodes, len(pairs[0][0].src)
    if grain == "link":
        return np.arange(count * nodes).reshape(count, -1), np.arange(count * arcs).reshape(count, -1)
    meets = np.zeros(nodes, np.uint8)
    meets[roots] = 1
    found = [
        colours(away, away.rank + 2 * away.terminal + 4 * towards.rank + 8 * towards.terminal + 16 * meets)
        for towards, away in pairs
    ]
    node, arc = (np.stack(part) for part in zip(*found, strict=True))
    if grain == "cable":
        assert opposite is not None
        arc = unordered(arc, arc[:, opposite])
    return numbered(node), numbered(arc)


def _distinct(arc: Ints) -> list[int]:
    """One pair of each kind: those that look alike have the same variables, in another order."""
    kinds: dict[bytes, int] = {}
    for p, labels in enumerate(np.sort(arc, axis=1)):
        kinds.setdefault(labels.tobytes(), p)
    return list(kinds.values())
