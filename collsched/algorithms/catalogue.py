"""Which algorithms apply to a collective on a topology, each in the variants worth trying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from collsched.algorithms.all_to_all import path_families
from collsched.algorithms.families import FAMILIES, Variant
from collsched.algorithms.forests import to_forest
from collsched.algorithms.routing import Router
from collsched.algorithms.setting import Setting
from collsched.algorithms.trees import Trees, Unreachable
from collsched.collective import Collective, Kind
from collsched.forest.model import Forest
from collsched.forest.problem import directions
from collsched.topology.model import Topology

MOST_HOPS = 1 << 22  # of all shards of an all-to-all together


@dataclass(frozen=True, slots=True)
class Baseline:
    """An algorithm as forests, in the order of `forest.problem.directions`.

    `collective` is what was asked for; an allreduce, which promises the whole buffer to everyone, may be cut into other
    shards.
    """

    name: str
    collective: Collective
    forests: tuple[Forest, ...]
    variant: str = ""
    fused: bool = False  # what crosses a route is one message (`passes.fuse`)

    @property
    def transfers(self) -> int:
        """At least so many transfers come of it."""
        return sum(len(forest.edges) for forest in self.forests)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An algorithm that is likely to apply, before it is built. `transfers`: about as many as it will have; of a
    gather or scatter, and of trees that share ranks that relay, fewer. `rival`: what `baselines` takes."""

    name: str
    variant: str
    transfers: int
    rival: bool
    _setting: Setting
    _variant: Variant

    def build(self) -> Baseline | None:
        """Its forests; None where it does not apply, or two ranks cannot reach each other.

        Work is that of some passes over all tree edges, and one search for each pair of ranks that are joined.
        """
        trees = self._variant.trees()
        if trees is None:
            return None
        topology, collective = self._setting.topology, self._setting.collective
        if collective.kind is Kind.ALLREDUCE:
            collective, trees = _shared_by_roots(collective, trees)
        router = Router(topology)  # one of its own, since a router balances what it routes
        try:
            forests = tuple(
                to_forest(topology, router, self._setting.relays, collective, trees, "in" if reverse else "out")
                for reverse in directions(collective.kind)
            )
        except Unreachable:
            return None
        return Baseline(self.name, collective, forests, self.variant)


def candidates(topology: Topology, collective: Collective) -> Iterator[Candidate]:
    """All that may apply, one after another, the usual ones first; none for an all-to-all, or for a single rank."""
    if collective.kind is Kind.ALL_TO_ALL or len(collective.group) < 2:
        return
    setting = Setting(topology, collective)
    phases = len(directions(collective.kind))
    for family in FAMILIES:
        for variant in family(setting):
            transfers = variant.count * (setting.members - 1) * phases
            yield Candidate(variant.name, variant.text, transfers, variant.rival, setting, variant)


def baselines(topology: Topology, collective: Collective, *, most_transfers: int | None = None) -> list[Baseline]:
    """What a plan is shown beside: the algorithms that libraries use, variants of one name side by side. Those of more
    than `most_transfers` are left out, before they are built."""
    if collective.kind is Kind.ALL_TO_ALL:
        return list(_exchanges(topology, collective, MOST_HOPS if most_transfers is None else most_transfers))
    found = []
    for candidate in candidates(topology, collective):
        if candidate.rival and (most_transfers is None or candidate.transfers <= most_transfers):
            baseline = candidate.build()
            if baseline is not None:
                found.append(baseline)
    return found


def _exchanges(topology: Topology, collective: Collective, most: int) -> Iterator[Baseline]:
    for family in path_families(Setting(topology, collective)):
        if family.transfers <= most:
            with suppress(Unreachable):
                yield Baseline(family.name, collective, (family.build(),), fused=family.fused)


def _shared_by_roots(collective: Collective, trees: Trees) -> tuple[Collective, Trees]:
    """The collective as it is if all of its owners are roots; otherwise the buffer cut into equal parts, one a tree,
    that belong to the trees' roots."""
    roots, counts = np.unique(trees.root, return_counts=True)
    group = collective.group
    if len(roots) == len(group):
        return collective, trees
    common = gcd(*counts.tolist())
    owners = tuple(group[root] for root in roots.tolist())
    shards = tuple((counts // common).tolist())
    return replace(collective, owners=owners, shards=shards), replace(trees, per_root=common)
