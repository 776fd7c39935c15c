"""Which links would raise the bound if they were faster, up to what, and from what bandwidth on no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.forest.optimum import Optimum
from collsched.forest.problem import Problem, arrays

_SINGLE_LINKS = 12  # bottleneck links tried on their own
_KINDS = 6  # kinds of link tried
_MOST = 1 << 61  # capacities of all links together, so that no sum overflows

Links = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Raise:
    """Links that lower the ratio if they get faster, all by the same factor.

    The slowest of `links` (ids) has `now` GB/s. At `bandwidth` GB/s, the others in proportion, the ratio is down to
    `ratio`, and more does not help. Both are None where the links bind at any bandwidth.
    """

    links: tuple[int, ...]
    now: Fraction
    ratio: Fraction | None
    bandwidth: Fraction | None


def sensitivity(problem: Problem, optimum: Optimum) -> list[Raise]:
    """What would lower the optimum's ratio, best first: single links, if one alone does; else the smallest kinds
    of link (equal bandwidth, equal kinds of ends) that cross the bottleneck cut, all links of a kind at once; else
    all kinds that bottleneck cuts cross in turn.

    Samples a dozen links and a few kinds, so that large fabrics take well under a second. Empty where nothing moves.
    """
    if optimum.cut is None:
        return []
    inside = np.zeros(problem.nodes, bool)
    inside[list(optimum.cut.side)] = True
    crossing = _crossing(problem, inside)
    least = optimum.ratio / problem.scale
    found: list[Raise] = []
    if _limit(problem, crossing)[0] < least:
        found = [r for r in (_raise(problem, least, np.array([link])) for link in _sample(problem, crossing)) if r]
    if not found:
        found = [r for r in (_raise(problem, least, links) for links in _kinds(problem, crossing)) if r]
        smallest = min((len(r.links) for r in found), default=0)
        found = [r for r in found if len(r.links) == smallest]
    if not found:
        found = [r for r in (_raise(problem, least, _union(problem, least, crossing)),) if r]
    return sorted(found, key=lambda r: (r.ratio or 0, r.links))


def _crossing(problem: Problem, inside: Mask) -> Links:
    return np.flatnonzero(inside[problem.src] & ~inside[problem.dst] & (problem.capacity > 0))


def _kind(problem: Problem, link: int) -> tuple[int, ...]:
    return int(problem.capacity[link]), int(problem.rank[problem.src[link]]), int(problem.rank[problem.dst[link]])


def _sample(problem: Problem, crossing: Links) -> list[int]:
    """Some links of the cut: of each kind in turn, the slowest kind first."""
    by_kind: dict[tuple[int, ...], list[int]] = {}
    for link in crossing.tolist():
        by_kind.setdefault(_kind(problem, link), []).append(link)
    kinds = [by_kind[kind] for kind in sorted(by_kind)]
    turns = (links[i] for i in range(max(map(len, kinds))) for links in kinds if i < len(links))
    return list(islice(turns, _SINGLE_LINKS))


def _kinds(problem: Problem, crossing: Links) -> Iterator[Links]:
    """All links of each kind that occurs in the cut, the slowest kinds first."""
    for capacity, tail, head in sorted({_kind(problem, link) for link in crossing.tolist()})[:_KINDS]:
        alike = (problem.capacity == capacity) & (problem.rank[problem.src] == tail)
        yield np.flatnonzero(alike & (problem.rank[problem.dst] == head))


def _union(problem: Problem, least: Fraction, crossing: Links) -> Links:
    """Kinds of link, those of one bottleneck cut after another, until the ratio falls if all of them are fast."""
    links = np.unique(np.concatenate(list(_kinds(problem, crossing))))
    for _ in range(_KINDS):
        ratio, inside = _limit(problem, links)
        if ratio < least:
            break
        more = np.setdiff1d(_crossing(problem, inside), links)
        links = np.unique(np.concatenate([links, *_kinds(problem, more)]))
    return links


def _raise(problem: Problem, least: Fraction, links: Links) -> Raise | None:
    """The least ratio that faster links reach, and at what factor, by discrete Newton on the cuts between."""
    ratio, inside = _limit(problem, links)
    if ratio >= least:
        return None
    slowest = Fraction(int(problem.capacity[links].min()), problem.scale)
    if np.isin(_crossing(problem, inside), links).any():
        return Raise(tuple(links.tolist()), slowest, None, None)
    factor = Fraction(1)
    while (scaled := _scaled(problem, links, factor)) is not None:
        weight, exit_capacity, side = _core.optimum(*arrays(scaled))
        missing = weight / ratio - Fraction(exit_capacity, factor.denominator)
        if missing <= 0:
            return Raise(tuple(links.tolist()), slowest, ratio * problem.scale, slowest * factor)
        raised = np.intersect1d(_crossing(problem, side != 0), links)
        factor += missing / int(problem.capacity[raised].sum())
    return None  # beyond exact integers


def _limit(problem: Problem, links: Links) -> tuple[Fraction, Mask]:
    """The ratio, per unit of capacity, with so much on the links that no cut across them binds if it can be helped."""
    room = _MOST // (2 * max(1, int(problem.capacity[links].sum())))
    plenty = min(room, int(problem.capacity.sum()) * max(1, int(problem.weight.sum())))
    changed = problem.capacity.copy()
    changed[links] *= plenty
    weight, exit_capacity, side = _core.optimum(*arrays(problem, changed))
    return Fraction(weight, exit_capacity), side != 0


def _scaled(problem: Problem, links: Links, factor: Fraction) -> Problem | None:
    """The problem with the links faster by a factor, its scale times the denominator; None if integers overflow."""
    total, part = int(problem.capacity.sum()), int(problem.capacity[links].sum())
    if factor.denominator * total + factor.numerator * part >= _MOST:
        return None
    capacity = problem.capacity * factor.denominator
    capacity[links] = problem.capacity[links] * factor.numerator
    return replace(problem, capacity=capacity, scale=problem.scale * factor.denominator)
