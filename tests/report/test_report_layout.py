"""Structure and drawing of fabrics: nothing is missing, nothing lies on top of anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.report.cell import Cell, Rect
from collsched.report.layout import layout
from collsched.report.sketch import sketch
from collsched.report.structure import find_grid, structure
from collsched.topology import Topology, list_bundled, resolve

BUNDLED = [entry.name for entry in list_bundled()]
SCALED = [entry.name for entry in list_bundled() if any(parameter.name == "boxes" for parameter in entry.parameters)]


def _overlap(one: Rect, two: Rect) -> bool:
    return (
        one.x < two.x + two.width - 1e-6
        and two.x < one.x + one.width - 1e-6
        and one.y < two.y + two.height - 1e-6
        and two.y < one.y + one.height - 1e-6
    )


def _check(topology: Topology) -> Cell:
    drawing = layout(structure(topology))
    assert set(drawing.place) == set(range(len(topology.nodes)))
    assert not drawing.open
    for link in topology.links:
        a, b = sorted((link.src, link.dst))
        parts = drawing.wires[a, b]
        for node, point in ((a, parts[0][0]), (b, parts[-1][-1])):
            rect = drawing.place[node]
            assert rect.x - 1e-6 <= point[0] <= rect.x + rect.width + 1e-6, topology.nodes[node].name
            assert rect.y - 1e-6 <= point[1] <= rect.y + rect.height + 1e-6, topology.nodes[node].name
    for rect in drawing.place.values():
        assert rect.width > 0 and rect.height > 0 and rect.y >= -1e-6
    ordered = sorted(drawing.place.items(), key=lambda item: item[1].y)
    for number, (_, one) in enumerate(ordered):
        for _, two in ordered[number + 1 :]:
            if two.y >= one.y + one.height:
                break
            assert not _overlap(one, two)
    return drawing


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_fabric_is_drawn_whole(name: str) -> None:
    topology = resolve(name, {})
    drawing = _check(topology)
    frames = dict(drawing.frames)
    for node, rect in drawing.place.items():
        host = topology.nodes[node].host
        if host is not None:
            frame = frames[host]
            assert frame.x <= rect.x and rect.x + rect.width <= frame.x + frame.width + 1e-6
            assert frame.y <= rect.y and rect.y + rect.height <= frame.y + frame.height + 1e-6


@pytest.mark.parametrize("name", ["dgx-a100", "fat-tree", "mi250", "leaf-spine", "azure-nd-a100-v4"])
def test_many_hosts_make_a_drawing_of_a_screens_shape(name: str) -> None:
    drawing = _check(resolve(name, {"boxes": "24"}))
    assert 0.7 < drawing.width / drawing.height < 4
    frames = [frame for _, frame in drawing.frames]
    assert not any(_overlap(one, two) for i, one in enumerate(frames) for two in frames[i + 1 :])


@given(st.integers(2, 6), st.integers(2, 40), st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_random_fabrics_are_drawn_whole(per_switch: int, ranks: int, seed: int) -> None:
    _check(resolve("random-switched", {"ranks": str(ranks), "per_switch": str(per_switch), "seed": str(seed)}))


@pytest.mark.parametrize(
    ("name", "settings", "dims", "wrap"),
    [
        ("torus-2d", {}, (4, 4), (True, True)),
        ("torus-2d", {"dims": "3x5"}, (3, 5), (True, True)),
        ("torus-3d", {"dims": "2x3x4"}, (2, 3, 4), (False, True, True)),
        ("hypercube", {}, (2, 2, 2, 2), (False,) * 4),
    ],
)
def test_grids_are_found(name: str, settings: dict[str, str], dims: tuple[int, ...], wrap: tuple[bool, ...]) -> None:
    grid = find_grid(resolve(name, settings))
    assert grid is not None and (grid.dims, grid.wrap) == (dims, wrap)


def test_no_grid_is_seen_where_there_is_none() -> None:
    assert find_grid(resolve("random-irregular", {})) is None
    assert find_grid(resolve("mi250", {})) is None


def test_tiers_are_counted_from_the_hosts() -> None:
    built = structure(resolve("fat-tree", {"boxes": "32"}))
    names = [
        {built.topology.nodes[node].name.split("/")[-1].rstrip("0123456789") for node in tier} for tier in built.tiers
    ]
    assert len(names) == 3 and names[0] == {"edge"}


@pytest.mark.parametrize("name", BUNDLED)
def test_a_sketch_has_a_few_short_lines(name: str) -> None:
    lines = sketch(structure(resolve(name, {"boxes": "64"} if name in SCALED else {})))
    assert 1 <= len(lines) <= 20 and max(map(len, lines)) <= 100
