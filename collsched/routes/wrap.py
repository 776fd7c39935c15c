"""Equal flows over a uniform leaf–spine, exactly balanced with the fewest pieces (T2).

Let D be the largest degree of a leaf and s the number of spines. Flows that send nothing make every leaf's degree D;
the regular graph falls apart into D perfect matchings. D − r of them, r = D mod s, go whole to the spines in turn. The
other r lie end to end on a line that is cut into s equal parts, one a spine (McNaughton's wrap-around rule):

    |  matching 0  |  matching 1  |  matching 2  |
    | spine 0 | spine 1 | spine 2 | spine 3 | …        r + s − gcd(r, s) pieces

Every link between a leaf and a spine then carries at most D·f / s. A leaf needs D + s − gcd(D, s) pieces, and no fewer
do where all of its links must be equally full: a component of its flow–link graph with m flows and t links
has m·f = t·D·f / s, so t is a multiple of s / gcd and there are at most gcd components.
"""

from __future__ import annotations

import numpy as np

from collsched._core import edge_colouring
from collsched.routes.clos import Clos
from collsched.routes.model import I32, I64, Flows, Subflows


def regular(left: I64, right: I64) -> tuple[I32, I32, int]:
    """Ends (numbered from 0) of the given edges, then of more that make all vertices of both sides of one degree, and
    that degree."""
    names, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    count = len(names)
    one, two = ends[: len(left)], ends[len(left) :]
    out, into = np.bincount(one, minlength=count), np.bincount(two, minlength=count)
    degree = int(max(out.max(initial=0), into.max(initial=0)))
    more = [np.repeat(np.arange(count), degree - used) for used in (out, into)]
    return (
        np.concatenate([one, more[0]]).astype(np.int32),
        np.concatenate([two, more[1]]).astype(np.int32),
        degree,
    )


def wrap(clos: Clos, flows: Flows, pair: I32) -> Subflows:
    """Pieces of equal flows such that every uplink and downlink carries at most max degree · size / spines, plus a
    byte for each piece."""
    leaf = clos.leaf[pair]
    one, two, degree = regular(leaf[:, 0], leaf[:, 1])
    matching = edge_colouring(one, two, degree)[: len(pair)].astype(np.int64)
    spines, size = clos.planes, int(flows.bytes[0])
    rest = degree % spines
    cut = np.flatnonzero(matching < rest)
    uncut = np.flatnonzero(matching >= rest)
    whole_path = clos.path[pair[uncut], (matching[uncut] - rest) % spines, 0]
    starts, lengths, spine = _line(rest, size, spines)
    flow = np.repeat(cut, np.array([len(starts[number]) for number in matching[cut].tolist()], np.int64))
    offset = _concatenate([starts[number] for number in matching[cut].tolist()])
    length = _concatenate([lengths[number] for number in matching[cut].tolist()])
    over = _concatenate([spine[number] for number in matching[cut].tolist()])
    return Subflows(
        np.concatenate([uncut, flow]),
        np.concatenate([np.zeros(len(uncut), np.int64), offset]),
        np.concatenate([flows.bytes[uncut], length]),
        np.concatenate([whole_path, clos.path[pair[flow], over, 0]]),
    )


def _concatenate(parts: list[I64]) -> I64:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _line(rest: int, size: int, spines: int) -> tuple[list[I64], list[I64], list[I64]]:
    """For each matching on the line: offsets, lengths and spines of its pieces."""
    borders = [part * rest * size // spines for part in range(spines + 1)]
    offsets, lengths, over = [], [], []
    for number in range(rest):
        low, high = number * size, (number + 1) * size
        parts = [
            (max(borders[part], low), min(borders[part + 1], high), part)
            for part in range(spines)
            if max(borders[part], low) < min(borders[part + 1], high)
        ]
        offsets.append(np.array([start - low for start, _, _ in parts], np.int64))
        lengths.append(np.array([end - start for start, end, _ in parts], np.int64))
        over.append(np.array([part for _, _, part in parts], np.int64))
    return offsets, lengths, over
