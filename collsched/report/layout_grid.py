"""Tori, meshes and hypercubes: ranks at their coordinates. The last dimension runs to the right, the one before it
down, the one before that as planes to the right again, and so on. Links around the ends leave the grid and return."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collsched.report.cell import PITCH, RANK, Cell, Point, Points, Rect, bow
from collsched.report.structure import Structure

STEP = 1.35 * PITCH
STUB = 0.55 * PITCH


def grid_cell(structure: Structure) -> Cell:
    """The drawing of a structure with a grid."""
    assert structure.grid is not None
    dims = structure.grid.dims
    ranks = structure.topology.ranks
    x, y = _axis(dims[::-1][0::2]), _axis(dims[::-1][1::2])
    places = np.stack(np.unravel_index(np.arange(len(ranks)), dims), axis=-1)[:, ::-1]
    margin = STUB + 4
    cell = Cell(2 * margin + _width(x, dims[::-1][0::2]) + RANK, 2 * margin + _width(y, dims[::-1][1::2]) + RANK)
    for rank, place in zip(ranks, places.tolist(), strict=True):
        left = margin + sum(step * at for step, at in zip(x, place[0::2], strict=True))
        up = margin + sum(step * at for step, at in zip(y, place[1::2], strict=True))
        cell.place[rank] = Rect(left, up, RANK, RANK)
    number = dict(zip(ranks, places.tolist(), strict=True))
    for node in ranks:
        for near in structure.neighbours[node]:
            if node < near:
                axis = next(i for i, (a, b) in enumerate(zip(number[node], number[near], strict=True)) if a != b)
                around = abs(number[node][axis] - number[near][axis]) > 1
                cell.wires[node, near] = _wire(cell.place[node].centre, cell.place[near].centre, axis, around=around)
    return cell


def _axis(sizes: Sequence[int]) -> list[float]:
    """How far apart neighbours of each dimension along one axis are."""
    steps, step = [], STEP
    for size in sizes:
        steps.append(step)
        step = step * size + PITCH * 0.9
    return steps


def _width(steps: Sequence[float], sizes: Sequence[int]) -> float:
    return sum(step * (size - 1) for step, size in zip(steps, sizes, strict=True))


def _wire(a: Point, b: Point, axis: int, *, around: bool) -> list[Points]:
    """A straight line between neighbours, a bow from plane to plane, two ends for a link around the grid."""
    if not around:
        return [[a, b] if axis < 2 else bow(a, b, 0.1 * axis)]
    along = ((1.0, 0.0), (0.0, 1.0))[axis] if axis < 2 else (0.75, 0.45)
    sign = 1.0 if b[axis % 2] > a[axis % 2] else -1.0
    reach = sign * (RANK / 2 + STUB)
    return [
        [a, (a[0] - along[0] * reach, a[1] - along[1] * reach)],
        [(b[0] + along[0] * reach, b[1] + along[1] * reach), b],
    ]
