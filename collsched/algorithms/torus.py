"""Algorithms on grids: one exchange along every dimension in turn, in several copies that start in different ones.

Bucket (Barnett, Littlefield, Payne and van de Geijn 1993; Jain and Sabharwal 2010): along the first dimension a shard
goes round its own row, then each of these ranks passes it round its column, and so on.

    dimension 0    r → · → · → ·          Σ (nᵢ − 1) steps, or Σ ⌊nᵢ / 2⌋ if every rank sends both ways;
    dimension 1    ↓   ↓   ↓   ↓          (n − 1) / n of the buffer into every rank, over all of its links alike
                   ·   ·   ·   ·          if 2·D copies, each of an equal part, start in D dimensions and both ways

A path has no way round: its ranks send to both its ends. A complete graph is crossed in one step. Dimensions of two
places make it halving–doubling on a hypercube.

Halving–doubling and swing (De Sensi et al., NSDI 2024, section 4.1) on grids take their steps in all dimensions by
turns, step s in dimension s mod D, and a copy starts in each dimension; of swing also a mirrored one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collsched.algorithms.direct import direct
from collsched.algorithms.exchange import both_ways, line, ring
from collsched.algorithms.grid import Dimension, Grid
from collsched.algorithms.halving_doubling import doubling_steps
from collsched.algorithms.stepwise import lifted, spread
from collsched.algorithms.swing import swing_steps
from collsched.algorithms.trees import ROOT, Ints, Trees, together


def copies_of(grid: Grid) -> int:
    """One copy for every dimension to start in, or two, if they can go round both ways."""
    closed = any(dimension.shape == "cycle" for dimension in grid.dimensions)
    return (2 if closed else 1) * len(grid.dimensions)


def bucket(grid: Grid, *, half: bool = False, copies: int) -> Trees:
    """Round every dimension; `half`: both ways at once, half round each. `copies`: up to `copies_of` the grid."""
    count = len(grid.dimensions)
    variants = []
    for copy in range(copies):
        first, backwards = copy % count, copy >= count
        tables = [_along(dimension, backwards, half) for dimension in grid.dimensions]
        variants.append(in_turn(tables, [*range(first, count), *range(first)]))
    return _placed(grid, variants)


def _along(dimension: Dimension, backwards: bool, half: bool) -> Ints:
    if dimension.shape == "complete":
        return direct(dimension.extent).parent
    if dimension.shape == "path":
        return line(dimension.extent)
    return (both_ways if half else ring)(dimension.extent, backwards=backwards)


def in_turn(tables: Sequence[Ints], turn: Sequence[int]) -> Ints:
    """[n, n] The parents in a grid of these dimensions' exchanges, if they are taken in this order: a member hangs on
    the one before it along the last dimension in which it differs from the root."""
    extents = [len(table) for table in tables]
    place = np.arange(int(np.prod(extents)))
    coordinates = np.unravel_index(place, extents)
    parent = np.full((len(place), len(place)), ROOT)
    for dimension in turn:
        along, table = coordinates[dimension], tables[dimension]
        above = table[along[:, None], along]
        stride = int(np.prod(extents[dimension + 1 :]))
        parent = np.where(above >= 0, place + (above - along) * stride, parent)
    return parent


def stepped(grid: Grid, *, swinging: bool) -> Trees | None:
    """Halving–doubling, or swing, on a grid whose extents are powers of two; far partners first. Raises ValueError for
    other extents."""
    extents = grid.extents
    if any(extent & (extent - 1) for extent in extents):
        raise ValueError(f"extents {extents}; allowed are powers of two")
    variants = []
    for copy in range(copies_of(grid) if swinging else len(extents)):
        steps = _by_turns(extents, copy % len(extents), swinging, mirrored=copy >= len(extents))
        parent = spread(steps[::-1], int(np.prod(extents)))
        if parent is None:
            return None
        variants.append(parent)
    return _placed(grid, variants)


def _by_turns(extents: Sequence[int], first: int, swinging: bool, mirrored: bool) -> list[Ints]:
    """The steps of all dimensions, near ones first, from dimension `first` on."""
    along = [swing_steps(extent) if swinging else doubling_steps(extent) for extent in extents]
    if mirrored:
        # Turned round at 0, an even place goes back where it went forth.
        along = [[(-step[-np.arange(len(step))]) % len(step) for step in steps] for steps in along]
    order = [*range(first, len(extents)), *range(first)]
    return [
        lifted(along[dimension][number], extents, dimension)
        for number in range(max(map(len, along)))
        for dimension in order
        if number < len(along[dimension])
    ]


def _placed(grid: Grid, variants: Sequence[Ints]) -> Trees:
    """Copies on the grid's members."""
    member = np.arange(len(grid.order))
    return together([Trees(member, parent) for parent in variants]).renumbered(grid.order)
