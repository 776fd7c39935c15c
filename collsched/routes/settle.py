"""The optimum of a routing that exists, at the least bytes moved.

The program of `routes.program` gives the least congestion U. Then each of its variables is parted into what is on
that path already and stays (at most what is there) and what comes; the second program holds U and minimises what
comes. Its value is a limit: no routing within U moves fewer bytes. A path then sheds its largest subflows, whole but
for one, until it has lost what leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from collsched.routes.linear import least_cost
from collsched.routes.model import F64, I64, Subflows, join
from collsched.routes.network import Network
from collsched.routes.program import MOST_VARIABLES, Commodities, fill, rows_of, solve

_SLACK = 1e-9  # relative, of the congestion that the second program holds


@dataclass(frozen=True, slots=True)
class Settled:
    """A routing, and a limit that none beats that leaves the other subflows where they are (seconds)."""

    subflows: Subflows
    proven: Fraction


def settle(network: Network, left: Subflows, lost: np.ndarray, free: np.ndarray) -> Settled | None:
    """`left` with few bytes of the subflows in `free` (a mask) on other paths, among them all that are lost, so that
    the congestion is the least possible. None where that is too large a program, or nothing is free."""
    several = np.diff(network.paths.begin)[network.paths.pair[left.flow]] > 1
    free = free & several & (left.bytes > 0)
    chosen = np.flatnonzero(free)
    parts, gone = left.take(chosen), lost[chosen]
    stays = left.take(np.flatnonzero(~free))
    commodities = Commodities.of(network, parts)
    if not len(parts) or commodities.variables > MOST_VARIABLES // 2:
        return None
    background = network.loads(stays)
    vertex = solve(network, commodities, background)
    starts = np.cumsum(commodities.count) - commodities.count
    at = starts[commodities.owner] + parts.path - commodities.begin[commodities.owner]
    present = np.zeros(commodities.variables, np.int64)
    np.add.at(present, at[~gone], parts.bytes[~gone])
    found = _least_moved(network, commodities, background, present, vertex.seconds)
    if found is None:
        return None
    leaving, coming = found
    kept, moved = _shed(parts, at, gone, leaving)
    spread = _deal(commodities, moved, coming)
    return Settled(join([stays, kept, *spread]), vertex.proven)


def _least_moved(
    network: Network, commodities: Commodities, background: I64, present: I64, seconds: float
) -> tuple[I64, F64] | None:
    """(bytes that leave each variable's path, bytes that come to it), in all as few as can be."""
    rows, unit, _ = rows_of(network, commodities, background)
    count = commodities.variables
    twice = replace(
        rows,
        owner=np.tile(rows.owner, 2),
        variable=np.concatenate([rows.variable, rows.variable + count]),
        link=np.tile(rows.link, 2),
    )
    upper = np.concatenate([present / unit, np.full(count, np.inf)])
    cost = np.repeat([0.0, 1.0], count)
    congestion = seconds * float(np.median(network.rate)) / unit * (1 + _SLACK)
    found = least_cost(twice, congestion, cost, upper)
    if found is None:
        return None
    leaving = np.clip(np.rint(present - found.values[:count] * unit), 0, present).astype(np.int64)
    return leaving, found.values[count:] * unit


def _shed(parts: Subflows, at: I64, gone: np.ndarray, leaving: I64) -> tuple[Subflows, tuple[Subflows, I64]]:
    """What stays, and what moves with its place among the parts: all that is lost, and of each path the bytes in
    `leaving`."""
    takes = np.where(gone, parts.bytes, 0)
    order = np.lexsort((-parts.bytes, at))
    limits = np.searchsorted(at[order], np.arange(len(leaving) + 1))
    for variable in np.flatnonzero(leaving).tolist():
        here = order[limits[variable] : limits[variable + 1]]
        _take(takes, parts.bytes, here[~gone[here]], int(leaving[variable]))
    stays, moves = np.flatnonzero(takes < parts.bytes), np.flatnonzero(takes)
    keep = parts.bytes - takes
    kept = Subflows(parts.flow[stays], parts.offset[stays], keep[stays], parts.path[stays])
    moved = Subflows(parts.flow[moves], (parts.offset + keep)[moves], takes[moves], parts.path[moves])
    return kept, (moved, moves)


def _take(takes: I64, size: I64, here: I64, wanted: int) -> None:
    """Takes `wanted` bytes of the subflows `here`, largest first: whole ones, then the end of one more."""
    for number in here.tolist():
        if size[number] <= wanted:
            takes[number] = size[number]
            wanted -= int(size[number])
    if wanted:
        last = next(number for number in reversed(here.tolist()) if takes[number] == 0)
        takes[last] = wanted


def _deal(commodities: Commodities, moved: tuple[Subflows, I64], coming: F64) -> list[Subflows]:
    """The moved subflows on the paths that their commodities' bytes come to."""
    parts, place = moved
    if not len(parts):
        return []
    numbers, owner = np.unique(commodities.owner[place], return_inverse=True)
    total = np.zeros(len(numbers), np.int64)
    np.add.at(total, owner, parts.bytes)
    few = Commodities(parts, owner, commodities.begin[numbers], commodities.count[numbers], total)
    first = np.cumsum(commodities.count) - commodities.count
    values = np.concatenate([coming[first[number] : first[number] + commodities.count[number]] for number in numbers])
    return [fill(few, values)]
