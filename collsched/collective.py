"""The collectives: who takes part, which shards exist, who starts and ends with which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    ALLREDUCE = "allreduce"
    ALLGATHER = "allgather"
    REDUCE_SCATTER = "reduce-scatter"
    BROADCAST = "broadcast"
    REDUCE = "reduce"
    GATHER = "gather"
    SCATTER = "scatter"
    ALL_TO_ALL = "all-to-all"

    @property
    def rooted(self) -> bool:
        return self in (Kind.BROADCAST, Kind.REDUCE, Kind.GATHER, Kind.SCATTER)

    @property
    def reduces(self) -> bool:
        return self in (Kind.ALLREDUCE, Kind.REDUCE_SCATTER, Kind.REDUCE)


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective on a group of ranks.

    The buffer is cut into shards. Shard i has the relative size `shards[i]` and the owner `owners[i]`, a rank number:

    - allgather, gather: the owner starts with the shard; every rank of the group (gather: `root`) ends with all of them;
    - reduce-scatter, scatter: the owner ends with the shard, reduced over the group (scatter: sent by `root`);
    - allreduce: the owner is where the two phases meet; every rank ends with all shards reduced;
    - broadcast, reduce: one shard, owned by `root`.

    `group` is ascending rank numbers; `shards` are coprime non-negative integers, not all zero.
    """

    kind: Kind
    group: tuple[int, ...]
    owners: tuple[int, ...]
    shards: tuple[int, ...]
    root: int | None = None
