"""Grids found in a graph: tori, meshes, hypercubes, and other products of cycles, paths and complete graphs.

    6 ─ 7 ─ 8        = a path of 3 × a path of 3: every edge changes one coordinate,
    3 ─ 4 ─ 5          and a vertex's coordinates say where it lies on each factor
    0 ─ 1 ─ 2

A connected graph is a product of prime graphs in one way only, and the factors are the classes of edges under the
transitive closure of two relations (Feder 1992; Imrich and Klavžar, Product Graphs, 2000, chapter 4):

- Θ: edges xy and uv with d(x, u) + d(y, v) ≠ d(x, v) + d(y, u);
- τ: edges xy and xz where x alone is adjacent to both y and z.

For Θ it is enough to compare all edges with those of a spanning tree. A vertex's coordinate on a factor is the
component that it is in after that factor's edges are gone. What is found is checked: distinct coordinates for all
vertices of the product, as many edges as it has, and every factor a cycle, a path or a complete graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collsched.algorithms.tiers import components
from collsched.algorithms.trees import Ints
from collsched.collective import Collective
from collsched.topology.model import Topology

Mask = NDArray[np.bool_]
Shape = Literal["cycle", "path", "complete"]


MOST_DEGREE = 64  # of a rank: beyond, the search would take long


@dataclass(frozen=True, slots=True)
class Dimension:
    """`extent` places, joined as `shape` says: along the dimension in their order (a cycle closes), or each with each.
    Two places are a path."""

    shape: Shape
    extent: int

    @property
    def edges(self) -> int:
        """Pairs of places that are joined."""
        pairs = {"cycle": self.extent, "path": self.extent - 1, "complete": self.extent * (self.extent - 1) // 2}
        return pairs[self.shape]


@dataclass(frozen=True, slots=True)
class Grid:
    """order[i] is the member at place i; places are numbered with the last coordinate fastest."""

    dimensions: tuple[Dimension, ...]
    order: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(dimension.extent for dimension in self.dimensions)


def find_grid(topology: Topology, collective: Collective) -> Grid | None:
    """The grid that the links between the group's ranks make, or those between their switches, if every one has a
    switch of its own; None if it is none. Links count that lead both ways."""
    joined = _joined(topology, collective)
    degrees = np.unique(joined.sum(axis=0))
    if len(joined) < 2 or degrees[0] == 0 or degrees[-1] > MOST_DEGREE:
        return None
    distance = _distances(joined)
    return None if distance is None else _product(joined, distance)


def _joined(topology: Topology, collective: Collective) -> Mask:
    """[members, members] Whether a link joins them, or their own switches."""
    nodes, group = len(topology.nodes), [topology.ranks[rank] for rank in collective.group]
    place = np.full(nodes, -1)
    place[group] = np.arange(len(group))
    ends: list[set[int]] = [set() for _ in range(nodes)]
    for link in topology.links:
        ends[link.src].add(link.dst)
        ends[link.dst].add(link.src)
    for member, node in enumerate(group):
        switch = min(ends[node], default=node)
        ranks = [other for other in ends[switch] if topology.nodes[other].kind == "rank"]
        if len(ends[node]) == 1 and topology.nodes[switch].kind == "switch" and len(ranks) == 1:
            place[switch] = member
    src = place[np.array([link.src for link in topology.links], np.int64)]
    dst = place[np.array([link.dst for link in topology.links], np.int64)]
    inside = (src >= 0) & (dst >= 0) & (src != dst)
    one_way = np.zeros((len(group), len(group)), bool)
    one_way[src[inside], dst[inside]] = True
    joined: Mask = one_way & one_way.T
    return joined


def _distances(joined: Mask) -> Ints | None:
    """Edges between all pairs; None if the graph falls apart."""
    distance = np.where(np.eye(len(joined), dtype=bool), 0, -1)
    reached, far = np.eye(len(joined), dtype=bool), 0
    neighbours = [np.flatnonzero(row) for row in joined]
    while True:
        far += 1
        onward = np.stack([reached[near].any(axis=0) for near in neighbours])
        new = onward & (distance < 0)
        if not new.any():
            return None if (distance < 0).any() else distance
        distance[new] = far
        reached = new


def _product(joined: Mask, distance: Ints) -> Grid | None:
    one, two = np.nonzero(np.triu(joined))
    factor = _factors(joined, distance, one, two)
    coordinates, dimensions = [], []
    for number in range(int(factor.max()) + 1):
        others = factor != number
        coordinate = components(len(joined), one[others], two[others])
        dimension, order = _dimension(coordinate, one[~others], two[~others])
        if dimension is None or (~others).sum() * dimension.extent != dimension.edges * len(joined):
            return None
        coordinates.append(order[coordinate])
        dimensions.append(dimension)
    extents = [dimension.extent for dimension in dimensions]
    if prod(extents) != len(joined):
        return None
    position = np.ravel_multi_index(coordinates, extents)
    if len(np.unique(position)) != len(joined):
        return None
    return Grid(tuple(dimensions), tuple(np.argsort(position).tolist()))


def _factors(joined: Mask, distance: Ints, one: Ints, two: Ints) -> Ints:
    """The factor of every edge."""
    count = len(one)
    union = _Union(count)
    number = np.full(joined.shape, -1)
    number[one, two] = number[two, one] = np.arange(count)
    for v in range(1, len(joined)):
        above = int(np.argmax(joined[v] & (distance[0] < distance[0, v])))
        related = distance[v, one] + distance[above, two] != distance[v, two] + distance[above, one]
        union.join(number[v, above], np.flatnonzero(related))
    for v, row in enumerate(joined):
        near = np.flatnonzero(row)
        common = joined[near].astype(np.int64) @ joined[:, near]
        for i, j in zip(*np.nonzero(np.triu(common == 1, 1)), strict=True):
            union.join(number[v, near[i]], number[v, near[j : j + 1]])
    return union.numbers()


class _Union:
    """Classes of edges: each edge has the label of its class."""

    def __init__(self, count: int) -> None:
        self._label = np.arange(count)

    def join(self, edge: int, others: Ints) -> None:
        labels = np.unique(np.append(self._label[others], self._label[edge]))
        if len(labels) > 1:
            self._label[np.isin(self._label, labels)] = labels[0]

    def numbers(self) -> Ints:
        return np.unique(self._label, return_inverse=True)[1].reshape(-1)


def _dimension(coordinate: Ints, one: Ints, two: Ints) -> tuple[Dimension | None, Ints]:
    """The factor that joins these coordinates, and the place of each of them on it."""
    extent = int(coordinate.max()) + 1
    joined = np.zeros((extent, extent), bool)
    joined[coordinate[one], coordinate[two]] = True
    joined |= joined.T
    degree = joined.sum(axis=0)
    if extent > 3 and (degree == extent - 1).all():
        return Dimension("complete", extent), np.arange(extent)
    ends = np.flatnonzero(degree == 1)
    if degree.max() > 2 or len(ends) not in (0, 2):
        return None, coordinate
    walk = [int(ends[0]) if len(ends) else 0]
    while len(walk) < extent:
        onward = [v for v in np.flatnonzero(joined[walk[-1]]).tolist() if v not in walk[-2:]]
        if not onward:
            return None, coordinate
        walk.append(min(onward))
    return Dimension("path" if len(ends) else "cycle", extent), np.argsort(walk)


def merged(grid: Grid) -> Grid:
    """The same grid where pairs of two places are cycles of four: 00 → 01 → 11 → 10."""
    pairs = [i for i, dimension in enumerate(grid.dimensions) if dimension.extent == 2]
    place = np.array(grid.order).reshape(grid.extents)
    rest = [i for i in range(place.ndim) if i not in pairs]
    moved = np.transpose(place, [*pairs, *rest])
    count = len(pairs) // 2
    shape = moved.shape[2 * count :]
    moved = moved.reshape(*(4,) * count, *shape)
    for axis in range(count):
        moved = np.take(moved, [0, 1, 3, 2], axis=axis)
    left = [grid.dimensions[i] for i in [*pairs[2 * count :], *rest]]
    return Grid((*(Dimension("cycle", 4),) * count, *left), tuple(moved.ravel().tolist()))
