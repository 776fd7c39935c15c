"""How a fabric is built: hosts, tiers of switches above them, grids. Found in the links, never in the name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from collsched.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Grid:
    """Rank i sits at the row-major position i of a grid of `dims`; `wrap`: for each of them, whether its ends are
    joined."""

    dims: tuple[int, ...]
    wrap: tuple[bool, ...]


@dataclass(frozen=True)
class Structure:
    """`hosts`: name and nodes of each host. `loose`: ranks outside hosts. `tiers`: switches outside hosts by their
    distance from the nearest rank or host, nearest first. `grid` where the ranks form one."""

    topology: Topology
    hosts: tuple[tuple[str, tuple[int, ...]], ...]
    loose: tuple[int, ...]
    tiers: tuple[tuple[int, ...], ...]
    grid: Grid | None

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """[nodes] whom each node has a link to or from, ascending."""
        return _neighbours(self.topology)


def structure(topology: Topology) -> Structure:
    """The structure of a fabric, in time linear in its links."""
    hosts: dict[str, list[int]] = {}
    for node, about in enumerate(topology.nodes):
        if about.host is not None:
            hosts.setdefault(about.host, []).append(node)
    inside = {node for members in hosts.values() for node in members}
    loose = tuple(node for node in topology.ranks if node not in inside)
    tiers = _tiers(topology, inside | set(loose))
    grid = None if hosts or tiers else find_grid(topology)
    named = tuple((name, tuple(members)) for name, members in hosts.items())
    return Structure(topology, named, loose, tiers, grid)


def _neighbours(topology: Topology) -> tuple[tuple[int, ...], ...]:
    found: list[set[int]] = [set() for _ in topology.nodes]
    for link in topology.links:
        found[link.src].add(link.dst)
        found[link.dst].add(link.src)
    return tuple(tuple(sorted(near)) for near in found)


def _tiers(topology: Topology, ground: set[int]) -> tuple[tuple[int, ...], ...]:
    """Breadth first from the ground; switches that nothing joins to it are of the first tier."""
    neighbours = _neighbours(topology)
    known, tiers, front = set(ground), list[tuple[int, ...]](), ground
    while front:
        front = {near for node in front for near in neighbours[node]} - known
        if front:
            tiers.append(tuple(sorted(front)))
            known |= front
    lost = tuple(node for node in range(len(topology.nodes)) if node not in known)
    if lost:
        tiers[:1] = [(*(tiers[0] if tiers else ()), *lost)]
    return tuple(tiers)


def find_grid(topology: Topology) -> Grid | None:
    """The grid of two or more dimensions in which every link joins neighbours, if there is one with few dimensions."""
    count = len(topology.ranks)
    if count < 4 or len(topology.nodes) > count or not topology.links:
        return None
    ends = np.array([(link.src, link.dst) for link in topology.links])
    for dims in _shapes(count):
        place = np.stack(np.unravel_index(ends, dims), axis=-1)  # [links, ends, dimensions]
        step = np.abs(place[:, 0] - place[:, 1])
        size = np.array(dims)
        near, around = step == 1, (step == size - 1) & (size > 2)
        if ((step > 0).sum(axis=1) == 1).all() and (near | around).any(axis=1).all():
            return Grid(dims, tuple(bool(value) for value in (around & ~near).any(axis=0)))
    return None


def _shapes(count: int) -> Iterator[tuple[int, ...]]:
    """Sizes of at least 2 with this product: two dimensions, three, then the hypercube."""
    divisors = [size for size in range(2, count // 2 + 1) if count % size == 0]
    yield from ((size, count // size) for size in divisors)
    for first in divisors:
        rest = count // first
        yield from ((first, size, rest // size) for size in divisors if rest % size == 0 and rest // size > 1)
    if count & (count - 1) == 0 and count > 8:
        yield (2,) * (count.bit_length() - 1)


def components(cells: Sequence[frozenset[int]], switches: Sequence[int], structure: Structure) -> list[list[int]]:
    """Numbers of the cells (0 …) and switches (len(cells) …) that links join to each other, in order of the first."""
    owner = {node: number for number, cell in enumerate(cells) for node in cell}
    parent = list(range(len(cells) + len(switches)))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for number, switch in enumerate(switches):
        for near in structure.neighbours[switch]:
            if near in owner:
                one, two = sorted((find(len(cells) + number), find(owner[near])))
                parent[two] = one
    groups: dict[int, list[int]] = {}
    for item in range(len(parent)):
        groups.setdefault(find(item), []).append(item)
    return list(groups.values())
