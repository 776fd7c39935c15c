"""Double binary tree (Sanders, Speck and Träff 2009): two trees, each for one half of the buffer.

    first          3                 second        4        ⌈log₂ n⌉-deep; no rank has children in both trees,
               1       5                       2       6    so every link carries about one buffer each way
             0   2   4   6 …                 …

A rank that is a leaf of the first tree is an inner one of the second: for even n its mirror image, r ↦ n − 1 − r, else
the same tree one place on.

Where hosts hold several ranks, the trees may also span the hosts alone, between ranks of one index, and go on along a
chain within each host.

A broadcast or reduction has a root of its own, above the roots of two trees of all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collsched.algorithms.trees import ROOT, Ints, Trees


def double_tree(members: int) -> Trees:
    """The two trees; their roots own one half of the buffer each."""
    first = _binary(members)
    position = np.arange(members)
    image = members - 1 - position if members % 2 == 0 else (position + 1) % members
    second = np.full(members, -1)
    inner = np.flatnonzero(first >= 0)
    second[image[inner]] = image[first[inner]]
    parent = np.stack([first, second])
    return Trees(np.argmin(parent, axis=1), parent)


def under(trees: Trees, root: int) -> Trees:
    """Trees on all members but one, under that one: a broadcast by it sends every tree's part to the tree's root."""
    members = trees.parent.shape[1] + 1
    place = np.delete(np.arange(members), root)
    parent = np.full((len(trees.root), members), root)
    parent[:, place] = np.where(trees.parent < 0, root, place[trees.parent])
    parent[:, root] = ROOT
    return Trees(np.full(len(trees.root), root), parent, len(trees.root))


def chained(hosts: Sequence[Sequence[int]]) -> Trees:
    """The two trees over the first ranks of the hosts, each followed by the others of its host one after another."""
    heads = double_tree(len(hosts))
    first = np.array([host[0] for host in hosts])
    parent = np.full((2, sum(map(len, hosts))), -1)
    parent[:, first] = np.where(heads.parent < 0, -1, first[heads.parent])
    for host in hosts:
        parent[:, host[1:]] = host[:-1]
    return Trees(first[heads.root], parent)


def _binary(members: int) -> Ints:
    """The parents of a balanced in-order tree: odd positions are inner, even ones leaves.

    The lowest set bit of r + 1 is its height; its parent is at the next height on the side that exists.
    """
    parent = np.full(members, -1)
    top = 1 << (members.bit_length() - 1)
    for one in range(1, members + 1):
        bit = one & -one
        if one == top:
            continue
        up = (one ^ bit) | (bit << 1)
        while up > members:  # the subtree is cut off there: attach to the nearest ancestor inside
            bit = up & -up
            up = (up ^ bit) | (bit << 1)
        parent[one - 1] = up - 1
    return parent
