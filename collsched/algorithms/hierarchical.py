"""Hierarchical, on any number of levels: between groups only ranks of one index talk (Cho et al., BlueConnect, 2019).

Allgather: each shard goes to one rank of every group, that of its owner's index, by an exchange between the groups: a
ring, halving–doubling, or straight. Then each of those hands it on in its group in the same manner, down to the
innermost level. Reduce-scatter is the same backwards, so that an allreduce is reduce-scatter within the hosts,
allreduce between hosts, allgather within the hosts.

    host a   a0  a1        a0's shard:  a0 ──▶ b0 ──▶ c0      the steps of each level's exchange;
    host b   b0  b1                      │      │      │      a shard enters every group once: n / h of all n
    host c   c0  c1                      ▼      ▼      ▼      between h hosts, where a flat exchange may send n − n / h
                                         a1     b1     c1

Where groups are of different sizes, an index counts modulo the size, so that some ranks of a small group stand for
several of a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from collsched.algorithms.trees import ROOT, Ints, Trees

Labels = Sequence[int]
Exchange = Callable[[int], Ints]


def hierarchical(levels: Sequence[Labels], exchanges: Sequence[Exchange]) -> Trees:
    """A tree from every member. `levels`: the group of each member, the outermost level first, each within the one
    before; `exchanges`: one for the groups of each level, and one for the members of an innermost group."""
    members = len(levels[0])
    parent = np.full((members, members), ROOT)
    nested = np.array([np.zeros(members, np.int64), *map(np.asarray, levels), np.arange(members)])
    _enter(parent, np.arange(members), np.arange(members), nested, exchanges)
    return Trees(np.arange(members), parent)


def _enter(parent: Ints, inside: Ints, entry: Ints, nested: Ints, exchanges: Sequence[Exchange]) -> None:
    """Spread every shard among the members `inside` a group from `entry` [roots], where it enters."""
    if len(inside) == 1:
        return
    label = nested[1][inside]
    groups = [inside[label == one] for one in dict.fromkeys(label.tolist())]
    if len(groups) > 1:
        home, index = np.full((2, len(parent)), -1)
        for number, group in enumerate(groups):
            home[group], index[group] = number, np.arange(len(group))
        entries = np.stack([group[index[entry] % len(group)] for group in groups])  # [groups, roots]
        table = exchanges[0](len(groups))
        root = np.arange(len(entry))
        for number in range(len(groups)):
            away = root[home[entry] != number]
            above = table[home[entry[away]], number]
            parent[away, entries[number, away]] = entries[above, away]
    else:
        entries = entry[None, :]
    for group, within in zip(groups, entries, strict=True):
        _enter(parent, group, within, nested[1:], exchanges[1:])
