"""The best trees by force: every tree of a small fabric is a variable, and the simplex method runs on fractions.

A tree joins *holders*: ranks, and the switches at which it may branch. Its edges are simple paths through other nodes.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product

from joint_oracle import Row, maximum

from collsched.collective import Collective
from collsched.topology.model import Topology

Loads = tuple[int, ...]  # links, each as often as the tree crosses it


def best_allreduce(topology: Topology, collective: Collective) -> Fraction:
    """The largest rate in GB/s at which pairs of in-trees and out-trees of common roots fit into the links."""
    roots = [topology.ranks[rank] for rank in collective.group]
    goal: Row = {}
    fits: list[Row] = [{} for _ in topology.links]
    meets: list[Row] = []
    column = len(roots)
    for number, root in enumerate(roots):
        goal[number] = Fraction(1)
        for reverse in (False, True):
            row = {number: Fraction(1)}
            for loads in trees(topology, collective, root, reverse):
                for link in loads:
                    fits[link][column] = fits[link].get(column, Fraction(0)) + 1
                row[column] = Fraction(-1)
                column += 1
            meets.append(row)
    rows = [(row, link.bandwidth) for row, link in zip(fits, topology.links, strict=True)]
    return maximum(goal, rows + [(row, Fraction(0)) for row in meets])


def best_phase(topology: Topology, collective: Collective, *, reverse: bool) -> Fraction:
    """The largest rate per unit of weight in GB/s of trees that carry every shard."""
    fits: list[Row] = [{} for _ in topology.links]
    meets: list[Row] = []
    column = 1
    for owner, weight in zip(collective.owners, collective.shards, strict=True):
        row = {0: Fraction(weight)}
        for loads in trees(topology, collective, topology.ranks[owner], reverse):
            for link in loads:
                fits[link][column] = fits[link].get(column, Fraction(0)) + 1
            row[column] = Fraction(-1)
            column += 1
        meets.append(row)
    rows = [(row, link.bandwidth) for row, link in zip(fits, topology.links, strict=True)]
    return maximum({0: Fraction(1)}, rows + [(row, Fraction(0)) for row in meets])


def trees(topology: Topology, collective: Collective, root: int, reverse: bool) -> set[Loads]:
    """The loads of all trees from a root; those that another tree undercuts are left out."""
    terminals = {topology.ranks[rank] for rank in collective.group} - {root}
    optional = {i for i, node in enumerate(topology.nodes) if (node.reduce if reverse else node.multicast)}
    optional |= set(topology.ranks) - terminals - {root}
    paths = _paths(topology, set(topology.ranks) | optional, reverse)
    found: set[Loads] = set()
    for size in range(len(optional) + 1):
        for used in combinations(sorted(optional), size):
            nodes = [*terminals, *used]
            entering = [[(a, path) for (a, b), all_paths in paths.items() for path in all_paths
                         if b == node and (a == root or a in nodes)] for node in nodes]  # fmt: skip
            for choice in product(*entering):
                parent = {node: tail for node, (tail, _) in zip(nodes, choice, strict=True)}
                if all(_reaches(parent, node, root) for node in nodes):
                    found.add(tuple(sorted(link for _, path in choice for link in path)))
    return {one for one in found if not any(other != one and _within(other, one) for other in found)}


def _paths(topology: Topology, holders: set[int], reverse: bool) -> dict[tuple[int, int], list[Loads]]:
    """(tail, head) → the simple paths between two holders through nodes that hold nothing, as links."""
    leaving: dict[int, list[tuple[int, int]]] = {i: [] for i in range(len(topology.nodes))}
    for number, link in enumerate(topology.links):
        tail, head = (link.dst, link.src) if reverse else (link.src, link.dst)
        leaving[tail].append((head, number))
    found: dict[tuple[int, int], list[Loads]] = {}

    def walk(start: int, node: int, seen: tuple[int, ...], path: Loads) -> None:
        for head, link in leaving[node]:
            if head in seen:
                continue
            if head in holders:
                found.setdefault((start, head), []).append((*path, link))
            # A switch that can branch may be passed as well.
            if topology.nodes[head].kind == "switch":
                walk(start, head, (*seen, head), (*path, link))

    for start in holders:
        walk(start, start, (start,), ())
    return found


def _reaches(parent: dict[int, int], node: int, root: int) -> bool:
    for _ in parent:
        if node == root:
            return True
        node = parent[node]
    return node == root


def _within(small: Loads, large: Loads) -> bool:
    return len(small) <= len(large) and all(small.count(link) <= large.count(link) for link in set(small))
