"""Trees given by parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Direction = Literal["in", "out"]

ROOT, ABSENT = -1, -2  # instead of a parent


@dataclass(frozen=True, slots=True)
class Trees:
    """Trees on the members of a group, which are numbered by position. In tree t, parent[t, i] is the parent of member
    i, ROOT where i = root[t], or ABSENT. All trees of a root carry equal parts of its data; there are `per_root` of
    them per unit of its weight, or fewer that stand for as many."""

    root: Ints
    parent: Ints  # [trees, members]
    per_root: int = 1

    def renumbered(self, order: Sequence[int]) -> Trees:
        """The same shapes where order[i] takes the place of member i."""
        member = np.array(order)
        place = np.argsort(member)
        above = self.parent[:, place]
        return Trees(member[self.root], np.where(above < 0, above, member[above]), self.per_root)


class Unreachable(Exception):
    """A rank that an algorithm wants to send to another cannot reach it."""


def together(variants: Sequence[Trees]) -> Trees:
    """Several algorithms side by side, each with an equal part of every shard."""
    return Trees(
        np.concatenate([trees.root for trees in variants]),
        np.concatenate([trees.parent for trees in variants]),
        sum(trees.per_root for trees in variants),
    )


def pruned(parent: Ints, terminals: Ints) -> Ints:
    """The trees without members that are no terminals and have none below."""
    trees, members = parent.shape
    needed = np.zeros((trees, members), bool)
    tree, at = (index.ravel() for index in np.meshgrid(np.arange(trees), terminals, indexing="ij"))
    while len(tree):
        new = ~needed[tree, at] & (parent[tree, at] != ABSENT)
        tree, at = tree[new], at[new]
        needed[tree, at] = True
        above = parent[tree, at]
        tree, at = tree[above >= 0], above[above >= 0]
    return np.where(needed, parent, ABSENT)


def depths(parent: Ints) -> Ints:
    """[trees, members] hops from the root: every pointer is followed, twice as far each round."""
    row = np.arange(len(parent))[:, None]
    above = np.where(parent < 0, np.arange(parent.shape[1]), parent)
    depth = (parent >= 0).astype(np.int64)
    while (more := depth[row, above]).any():
        depth = depth + more
        above = above[row, above]
    return depth


def heights(parent: Ints, tree: Ints, child: Ints, depth: Ints) -> Ints:
    """For each edge, given by its tree, its child and the child's depth: the longest way on from the child."""
    height = np.zeros(parent.shape, np.int64)
    order = np.argsort(-depth, kind="stable")
    tree, child = tree[order], child[order]
    ends = np.cumsum(np.bincount(depth)[::-1]).tolist()
    for first, last in pairwise([0, *ends]):
        level = slice(first, last)
        above = (tree[level], parent[tree[level], child[level]])
        np.maximum.at(height, above, height[tree[level], child[level]] + 1)
    found = np.empty(len(order), np.int64)
    found[order] = height[tree, child]
    return found


def along(order: Sequence[int]) -> Ints:
    """[n, n] For every root, the path that starts there and follows the cycle `order`."""
    cycle = np.array(order)
    parent = np.empty(len(cycle), np.int64)
    parent[cycle] = np.roll(cycle, 1)
    paths = np.tile(parent, (len(cycle), 1))
    np.fill_diagonal(paths, ROOT)
    return paths


def rooted(trees: Trees, roots: Sequence[int]) -> Trees:
    """The trees of some roots alone."""
    mine = np.flatnonzero(np.isin(trees.root, roots))
    return replace(trees, root=trees.root[mine], parent=trees.parent[mine])
