"""What the rules say of an all-to-all, where a tree is one path and its two ends tell which shard it carries."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from collsched.forest.check_facts import ROOT, Facts, Ints, Mask, sums


class PathFacts(Facts):
    """Every tree is a path that ends at a rank of the group; every pair of ranks has k · weight of them."""

    @property
    def holders(self) -> tuple[int, ...]:
        """Ranks alone: a path does not branch."""
        return self.topology.ranks

    @cached_property
    def forks(self) -> Mask:
        """Edges that do not go on from the edge before them in their tree."""
        edges = np.arange(len(self.before))
        first = edges == self.forest.ptr[:-1][self.tree_of]
        broken: Mask = self.before != np.where(first, ROOT, edges - 1)
        return broken

    @cached_property
    def missed(self) -> Ints:
        """1 for a tree that ends where it starts."""
        empty: Ints = (np.diff(self.forest.ptr) == 0).astype(np.int64)
        return empty

    def first_missed(self, tree: int) -> str:
        return "the one that it is for"

    @cached_property
    def missing_multiplicity(self) -> Ints:
        """Pair → k · weight − the units of its paths. What a rank sends to itself needs none."""
        count = len(self.collective.group)
        place = np.full(len(self.topology.ranks), -1, np.int64)
        place[list(self.collective.group)] = np.arange(count)
        source = place[self.rank_of[self.forest.roots]]
        target = place[self.child[self.forest.ptr[1:] - 1]]
        outside = np.flatnonzero(source < 0)
        if len(outside):  # a root that owns no shard: its units are too many for whichever pair
            source[outside] = target[outside]
        needed = self.k * (np.array(self.collective.shards, np.int64).reshape(count, count))
        np.fill_diagonal(needed, 0)
        return needed.reshape(-1) - sums(source * count + target, self.multiplicity, count * count)

    def wrong_multiplicity(self, pair: int) -> str:
        source, target = (self.place_name(self.collective.group[i]) for i in divmod(pair, len(self.collective.group)))
        needed = self.k * self.collective.shards[pair] * (source != target)
        return (
            f"the paths from {source} to {target} count {needed - self.missing_multiplicity[pair]}, "
            f"the shard needs k · weight = {needed}"
        )
