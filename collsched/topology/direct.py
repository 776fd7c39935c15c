"""Families whose ends are linked to each other, without switches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from math import prod
from random import Random

from collsched.errors import InputError
from collsched.topology.builder import MAX_NODES, Builder

Bandwidth = Fraction  # GB/s, positive
Latency = Fraction  # µs
Grid = tuple[int, ...]

ONE = Fraction(1)
MAX_DEGREE = 256


@dataclass(frozen=True, slots=True)
class Torus:
    """A grid with a link of `bandwidth` to each neighbour, closed to a ring along every dimension unless `wrap` is 0.

    The last coordinate counts fastest. Two ends along a dimension are neighbours once, not twice.
    """

    dims: Grid
    bandwidth: Bandwidth
    latency: Latency = ONE
    wrap: int = 1

    @property
    def size(self) -> int | None:
        return prod(self.dims)

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        stride = len(ends)
        for extent in self.dims:
            stride //= extent
            for position, end in enumerate(ends):
                coordinate = position // stride % extent
                if coordinate + 1 < extent:
                    builder.both(end, ends[position + stride], self.bandwidth, self.latency)
                elif self.wrap and extent > 2:
                    builder.both(end, ends[position - coordinate * stride], self.bandwidth, self.latency)


@dataclass(frozen=True, slots=True)
class Hypercube:
    """2^dimension ends; two whose numbers differ in one bit are linked."""

    dimension: int
    bandwidth: Bandwidth
    latency: Latency = ONE

    @property
    def size(self) -> int | None:
        if not 0 <= self.dimension < MAX_NODES.bit_length():
            raise InputError(
                f"dimension is {self.dimension}; allowed is from 0 to {MAX_NODES.bit_length() - 1}; lower it"
            )
        return 1 << self.dimension

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        for position, end in enumerate(ends):
            for bit in range(self.dimension):
                if not position >> bit & 1:
                    builder.both(end, ends[position | 1 << bit], self.bandwidth, self.latency)


@dataclass(frozen=True, slots=True)
class RandomIrregular:
    """A connected random graph of mean degree `degree`; a link has 1 to `levels` times `bandwidth`, both ways."""

    degree: int
    bandwidth: Bandwidth
    levels: int = 4
    seed: int = 0
    latency: Latency = ONE

    @property
    def size(self) -> int | None:
        return None

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        random = Random(self.seed)
        for a, b in random_edges(random, len(ends), self.degree):
            builder.both(ends[a], ends[b], self.bandwidth * random_level(random, self.levels), self.latency)


def random_level(random: Random, levels: int) -> int:
    """A multiplier from 1 to `levels`. Raises InputError."""
    if not 1 <= levels <= 1000:
        raise InputError(f"levels is {levels}; allowed is from 1 to 1000; choose one of them")
    return random.randint(1, levels)


def random_edges(random: Random, count: int, degree: int) -> Iterator[tuple[int, int]]:
    """The pairs of a connected random graph: a cycle through all, then distinct random pairs. Raises InputError.

    Where there are too few ends for the degree, all pairs.
    """
    if not 2 <= degree <= MAX_DEGREE:
        raise InputError(f"degree is {degree}; allowed is from 2 to {MAX_DEGREE}; choose one of them")
    order = random.sample(range(count), count)
    seen = {(min(pair), max(pair)) for pair in pairwise([*order, order[0]]) if pair[0] != pair[1]}
    yield from sorted(seen)
    wanted = min(count * degree, count * (count - 1)) // 2 - len(seen)
    if 2 * degree > count:  # dense: few pairs are left to draw from
        yield from random.sample([pair for pair in combinations(range(count), 2) if pair not in seen], wanted)
        return
    while wanted > 0:
        a, b = random.randrange(count), random.randrange(count)
        pair = (min(a, b), max(a, b))
        if a != b and pair not in seen:
            seen.add(pair)
            wanted -= 1
            yield pair
