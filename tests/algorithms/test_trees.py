"""The shapes of single algorithms: what their authors say of steps and partners."""

from __future__ import annotations

from itertools import product
from math import ceil, log, log2

import numpy as np
import pytest

from collsched.algorithms.bruck import bruck
from collsched.algorithms.direct import direct
from collsched.algorithms.double_tree import double_tree, under
from collsched.algorithms.exchange import both_ways, line, ring
from collsched.algorithms.halving_doubling import halving_doubling
from collsched.algorithms.ring import ring_trees
from collsched.algorithms.scatter_allgather import scatter_allgather
from collsched.algorithms.swing import swing, swing_steps
from collsched.algorithms.trees import ABSENT, ROOT, Ints, Trees, depths, heights, pruned


def check(trees: Trees) -> int:
    """Every member hangs on its root; the depth of the deepest tree."""
    members = trees.parent.shape[1]
    assert (trees.parent[np.arange(len(trees.root)), trees.root] == ROOT).all()
    assert ((trees.parent == ROOT).sum(axis=1) == 1).all() and (trees.parent != ABSENT).all()
    above = trees.parent
    for _ in range(members):
        above = np.where(above >= 0, trees.parent[np.arange(len(above))[:, None], above], above)
    assert (above == ROOT).all(), "a cycle"
    return int(depths(trees.parent).max())


def sends(trees: Trees) -> Ints:
    """How often every member sends."""
    return np.bincount(trees.parent[trees.parent >= 0], minlength=trees.parent.shape[1])


@pytest.mark.parametrize("members", range(1, 34))
@pytest.mark.parametrize("radix", [2, 3, 4])
@pytest.mark.parametrize("near_first", [True, False])
def test_bruck_takes_log_n_steps_for_any_n(members: int, radix: int, near_first: bool) -> None:
    trees = bruck(members, radix=radix, near_first=near_first)
    digits = len(np.base_repr(members - 1, radix)) if members > 1 else 0
    assert check(trees) <= digits
    if radix == 2 and members > 1:
        assert digits == ceil(log2(members))
    assert set(sends(trees).tolist()) == {members - 1}


@pytest.mark.parametrize("members", [4, 8, 16, 32, 6, 10, 12, 20, 24, 36, 5, 7, 9, 13, 21])
def test_swing_takes_log_n_steps(members: int) -> None:
    for near_first in (True, False):
        trees = swing(members, near_first=near_first)
        assert trees is not None
        steps = ceil(log2(members - members % 2)) + 2 * (members % 2)
        assert check(trees) <= steps
    if members & (members - 1) == 0:
        assert check(trees) == log2(members) and set(sends(trees).tolist()) == {members - 1}


def test_swing_meets_the_partners_of_the_paper() -> None:
    """Figure 1 of the paper: of rank 0 on 16 nodes 1, −1, 3, −5, at most two thirds as far as 1, 2, 4, 8 together."""
    steps = swing_steps(16)
    assert [int(step[0]) for step in steps] == [1, 15, 3, 11]
    for step in steps:
        assert (step[step] == np.arange(16)).all() and ((step - np.arange(16)) % 2 == 1).all()
    assert sum(min(d, 16 - d) for d in (1, 15, 3, 11)) == 10 < sum((1, 2, 4, 8))


@pytest.mark.parametrize("members", range(2, 12))
def test_direct_takes_one_step(members: int) -> None:
    trees = direct(members)
    assert check(trees) == 1 and set(sends(trees).tolist()) == {members - 1}


@pytest.mark.parametrize("members", range(2, 14))
def test_exchanges_of_a_grid_span_their_line(members: int) -> None:
    everyone = np.arange(members)
    for backwards in (False, True):
        assert check(Trees(everyone, ring(members, backwards=backwards))) == members - 1
        table = both_ways(members, backwards=backwards)
        assert check(Trees(everyone, table)) == members // 2
    assert check(Trees(everyone, line(members))) == members - 1
    one, two = (np.bincount(sides(both_ways(members, backwards=b)), minlength=2) for b in (False, True))
    assert (one + two == members * (members - 1)).all(), "together they load both directions alike"


def sides(table: Ints) -> Ints:
    """Of every edge, whether it leads forwards."""
    members = len(table)
    root, member = np.nonzero(table >= 0)
    return ((member - table[root, member]) % members == 1).astype(np.int64) if members > 2 else root


@pytest.mark.parametrize(("members", "root"), list(product((3, 4, 5, 8, 9), (0, 2))))
def test_double_trees_under_a_root_reach_everyone(members: int, root: int) -> None:
    trees = under(double_tree(members - 1), root)
    assert check(trees) <= 1 + ceil(log(members, 2))
    assert set(trees.root.tolist()) == {root} and trees.per_root == 2
    assert sends(trees)[root] == 2


@pytest.mark.parametrize("root", [0, 3])
def test_scatter_allgather_sends_two_buffers(root: int) -> None:
    members = 8
    trees = scatter_allgather(ring_trees([list(range(members))]), root)
    assert check(trees) == members - 1
    assert sends(trees)[root] == 2 * (members - 1)
    parts = scatter_allgather(halving_doubling(members, near_first=False), root)
    assert check(parts) <= 1 + log2(members)


def test_what_leads_nowhere_is_pruned() -> None:
    parent = np.array([[ROOT, 0, 1, 1, 3]])
    assert pruned(parent, np.array([2])).tolist() == [[ROOT, 0, 1, ABSENT, ABSENT]]
    assert pruned(parent, np.array([0])).tolist() == [[ROOT] + [ABSENT] * 4]
    tree, child = np.nonzero(parent >= 0)
    depth = depths(parent)[tree, child]
    assert depth.tolist() == [1, 2, 2, 3]
    assert heights(parent, tree, child, depth).tolist() == [2, 0, 1, 0]
