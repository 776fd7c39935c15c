"""Nodes and links that look alike, so that a program over a large and regular fabric needs one variable for many.

Colour refinement: two nodes keep the same colour while as many links of the same bandwidths join them to nodes of the
same colours. Colours are 64-bit sums of hashes. Neither a collision nor a class that no automorphism explains can make
a plan wrong: whoever uses the classes checks the outcome on the fabric itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.forest.problem import Problem

_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Labels = NDArray[np.int64]
Colours = NDArray[np.uint64]


def classes(problem: Problem) -> tuple[Labels, Labels]:
    """([nodes], [arcs]) class numbers from 0: arcs are alike if their bandwidths and the classes of their ends are."""
    node, arc = colours(problem, problem.rank + 2 * problem.terminal + 4 * problem.copies)
    return numbered(node), numbered(arc)


def numbered(colour: Colours | Labels) -> Labels:
    """The colours as numbers from 0."""
    return np.unique(colour, return_inverse=True)[1].astype(np.int64).reshape(colour.shape)


def colours(problem: Problem, marks: NDArray[np.uint8]) -> tuple[Colours, Colours]:
    """([nodes], [arcs]) colours of a fabric whose nodes are marked: the same for an isomorphic one, others for most."""
    bandwidth = np.unique(problem.capacity, return_inverse=True)[1].astype(np.uint64)
    colour = marks.astype(np.uint64)
    count = len(np.unique(colour))
    while True:
        heard = _mix(colour)
        np.add.at(heard, problem.dst, _mix(colour[problem.src] + _ODD * (2 * bandwidth + 1)))
        np.add.at(heard, problem.src, _mix(colour[problem.dst] + _ODD * (2 * bandwidth + 2)))
        colour = _mix(heard)
        if (refined := len(np.unique(colour))) <= count:
            break
        count = refined
    colour = _mix(colour + _mix(colour.sum(keepdims=True)))  # nodes that look alike may stand in unlike fabrics
    return colour, _mix(colour[problem.src] + _mix(colour[problem.dst] + _mix(bandwidth)))


def unordered(one: Colours, two: Colours) -> Colours:
    """The colours of unordered pairs."""
    return _mix(np.minimum(one, two) + _mix(np.maximum(one, two)))


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): sums of its values tell multisets apart."""
    value = value + _ODD
    value = (value ^ (value >> _SHIFTS[0])) * _FACTORS[0]
    value = (value ^ (value >> _SHIFTS[1])) * _FACTORS[1]
    return value ^ (value >> _SHIFTS[2])
