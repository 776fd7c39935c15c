"""Grids are found in graphs whatever their ranks are called, and the algorithms on them use all links alike."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from catalogued import built
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.algorithms.grid import Dimension, Grid, find_grid, merged
from collsched.algorithms.ring import snake
from collsched.algorithms.torus import bucket, copies_of, stepped
from collsched.algorithms.trees import Trees, depths
from collsched.collective import make_collective
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology


def fabric(shapes: list[tuple[str, int]], seed: int = 0, *, routers: bool = False) -> Topology:
    """A product of cycles, paths and complete graphs, its ranks in random order; with `routers`, each has a switch of
    its own that is linked instead."""
    extents = [extent for _, extent in shapes]
    count = prod(extents)
    order = random.Random(seed).sample(range(count), count)
    pairs = set()
    for place in range(count):
        at = np.unravel_index(place, extents)
        for axis, (shape, extent) in enumerate(shapes):
            steps = range(1, extent) if shape == "complete" else (1,)
            for step in steps:
                if shape == "cycle" or at[axis] + step < extent:
                    other = [*at]
                    other[axis] = (at[axis] + step) % extent
                    pairs.add((order[place], order[int(np.ravel_multi_index(other, extents))]))
    nodes = [Node(f"r{i}", "rank") for i in range(count)]
    shift = count if routers else 0
    ends = [(a + shift, b + shift) for a, b in pairs]
    if routers:
        nodes += [Node(f"s{i}", "switch") for i in range(count)]
        ends += [(i, i + count) for i in range(count)]
    links = {(x, y): Link(x, y, Fraction(10)) for a, b in ends for x, y in ((a, b), (b, a))}
    return Topology("product", tuple(nodes), tuple(links[pair] for pair in sorted(links)))


def found(topology: Topology, group: str | None = None) -> Grid | None:
    return find_grid(topology, make_collective(topology, "allgather", group=group))


def canonical(shapes: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """A complete graph of two is a path, one of three a cycle, a cycle of four two paths."""
    out: list[tuple[str, int]] = []
    for shape, extent in shapes:
        if shape == "cycle" and extent == 4:
            out += [("path", 2)] * 2
        elif extent > 1:
            out.append(("path" if extent == 2 else "cycle" if shape == "complete" and extent == 3 else shape, extent))
    return sorted(out)


LINES = st.tuples(st.just("cycle"), st.integers(3, 6)) | st.tuples(
    st.sampled_from(["path", "complete"]), st.integers(2, 5)
)


@settings(deadline=None, max_examples=60)
@given(shapes=st.lists(LINES, min_size=1, max_size=3), seed=st.integers(0, 99), routers=st.booleans())
def test_products_are_taken_apart(shapes: list[tuple[str, int]], seed: int, routers: bool) -> None:
    topology = fabric(shapes, seed, routers=routers)
    grid = found(topology)
    assert grid is not None
    assert sorted((d.shape, d.extent) for d in grid.dimensions) == canonical(shapes)
    count = len(grid.order)
    linked = {(link.src % count, link.dst % count) for link in topology.links}
    assert neighbours(grid) == {(a, b) for a, b in linked if a != b}
    four = merged(grid)
    assert neighbours(four) == neighbours(grid)
    assert sum(dimension.extent == 2 for dimension in four.dimensions) <= 1


def neighbours(grid: Grid) -> set[tuple[int, int]]:
    """All ordered pairs of members that the grid's dimensions say are joined."""
    place = np.array(grid.order).reshape(grid.extents)
    pairs = set()
    for axis, dimension in enumerate(grid.dimensions):
        rows = np.moveaxis(place, axis, -1).reshape(-1, dimension.extent).tolist()
        for row in rows:
            if dimension.shape == "complete":
                ends = [(a, b) for a in row for b in row if a != b]
            else:
                ends = list(pairwise(row))
                ends += [(row[-1], row[0])] if dimension.shape == "cycle" else []
            pairs |= {pair for a, b in ends for pair in ((a, b), (b, a))}
    return pairs


@settings(deadline=None, max_examples=40)
@given(shapes=st.lists(LINES, min_size=2, max_size=2), seed=st.integers(0, 10**6))
def test_a_grid_that_lacks_a_link_is_none(shapes: list[tuple[str, int]], seed: int) -> None:
    topology = fabric(shapes, seed)
    draw = random.Random(seed)
    gone = draw.choice(topology.links)
    links = [link for link in topology.links if {link.src, link.dst} != {gone.src, gone.dst}]
    grid = found(replace(topology, links=tuple(links)))
    assert grid is None or len(neighbours(grid)) == len(links), "unless it is another grid"


def test_what_is_found_in_the_library() -> None:
    def shapes(name: str, group: str | None = None, **parameters: str) -> list[tuple[str, int]] | None:
        grid = found(bundled(name, **parameters), group)
        return None if grid is None else sorted((d.shape, d.extent) for d in grid.dimensions)

    assert shapes("torus-2d", dims="5x6") == [("cycle", 5), ("cycle", 6)]
    assert shapes("torus-2d", "0-2,6-8", dims="5x6") == [("path", 2), ("path", 3)]
    assert shapes("torus-3d", dims="3x5x2") == [("cycle", 3), ("cycle", 5), ("path", 2)]
    assert shapes("hypercube") == [("path", 2)] * 4
    assert shapes("dgx1-v100") == [("complete", 4), ("path", 2)]
    assert shapes("mi300x", boxes="1") == [("complete", 8)]
    for name in ("dgx-a100", "mi250", "random-irregular", "leaf-spine", "dragonfly"):
        assert shapes(name) is None


GRIDS = [
    [("cycle", 5), ("cycle", 5)],
    [("path", 3), ("path", 4)],
    [("cycle", 3), ("path", 2), ("cycle", 6)],
    [("complete", 4), ("cycle", 5)],
]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shapes", GRIDS)
def test_buckets_take_one_exchange_a_dimension(shapes: list[tuple[str, int]], half: bool) -> None:
    grid = found(fabric(shapes, 1))
    assert grid is not None
    steps = {"cycle": lambda n: n // 2 if half else n - 1, "path": lambda n: n - 1, "complete": lambda n: 1}
    trees = bucket(grid, half=half, copies=copies_of(grid))
    depth = depths(trees.parent)
    assert int(depth.max()) == sum(steps[d.shape](d.extent) for d in grid.dimensions)
    assert (depth > 0).sum() == len(trees.root) * (prod(grid.extents) - 1)
    assert used(trees) <= neighbours(grid)


def used(trees: Trees) -> set[tuple[int, int]]:
    tree, child = np.nonzero(trees.parent >= 0)
    return set(zip(trees.parent[tree, child].tolist(), child.tolist(), strict=True))


@pytest.mark.parametrize("shapes", [[("cycle", 5), ("cycle", 5)], [("cycle", 3)] * 3, [("path", 2)] * 4])
@pytest.mark.parametrize("half", [False, True])
def test_all_copies_together_load_every_link_alike(shapes: list[tuple[str, int]], half: bool) -> None:
    """2·D copies: (n − 1) / (2·D) trees of every root's whole shard over each directed link."""
    grid = found(fabric(shapes))
    assert grid is not None
    trees = bucket(grid, half=half, copies=copies_of(grid))
    tree, child = np.nonzero(trees.parent >= 0)
    count = prod(grid.extents)
    load = np.bincount(trees.parent[tree, child] * count + child, minlength=count**2)
    links = len(neighbours(grid))
    assert set(load[load > 0].tolist()) == {len(trees.root) * (count - 1) // links}
    assert (load > 0).sum() == links


@pytest.mark.parametrize("extents", [(8,), (4, 4), (2, 8), (4, 2, 4), (16, 8)])
@pytest.mark.parametrize("swinging", [False, True])
def test_steps_go_through_all_dimensions(extents: tuple[int, ...], swinging: bool) -> None:
    grid = Grid(tuple(Dimension("cycle", extent) for extent in extents), tuple(range(prod(extents))))
    trees = stepped(grid, swinging=swinging)
    assert trees is not None
    assert trees.per_root == (copies_of(grid) if swinging else len(extents))
    depth = depths(trees.parent)
    assert int(depth.max()) == prod(extents).bit_length() - 1
    assert (depth == 0).sum() == len(trees.root)


def test_mirrored_swing_goes_the_other_way() -> None:
    grid = Grid((Dimension("cycle", 8),), tuple(range(8)))
    trees = stepped(grid, swinging=True)
    assert trees is not None
    mirrored = -np.arange(8) % 8
    one, two = Trees(trees.root[:8], trees.parent[:8]), Trees(trees.root[8:], trees.parent[8:])
    again = one.renumbered(mirrored.tolist())
    assert (again.parent[np.argsort(again.root)] == two.parent).all()


def test_steps_need_powers_of_two() -> None:
    with pytest.raises(ValueError, match="powers of two"):
        stepped(Grid((Dimension("cycle", 6),), tuple(range(6))), swinging=True)


@pytest.mark.parametrize(
    ("shapes", "closes"),
    [
        ([("cycle", 6), ("cycle", 5)], True),
        ([("cycle", 5), ("cycle", 6)], True),
        ([("path", 2)] * 5, True),
        ([("path", 3), ("path", 5)], False),
        ([("complete", 4), ("path", 3), ("cycle", 3)], True),
    ],
)
def test_a_snake_visits_all_and_often_returns(shapes: list[tuple[str, int]], closes: bool) -> None:
    grid = found(fabric(shapes, 3))
    assert grid is not None
    order = snake(grid)
    near = neighbours(grid)
    assert sorted(order) == sorted(grid.order) and set(pairwise(order)) <= near
    assert not closes or (order[-1], order[0]) in near


def test_a_ring_on_a_large_hypercube_joins_neighbours() -> None:
    cube = bundled("hypercube", dimension="8")
    assert {int(hops) for hops in np.diff(built(cube, "broadcast", "chain").forests[0].routes.ptr)} == {1}
    assert built(cube, "broadcast", "chain").forests[0].routes.ptr.size == 1 + 255
