"""The collectives: who takes part, which shards exist, who starts and who ends with which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm
from pathlib import Path
from typing import Literal

from collsched.errors import InputError
from collsched.matrix import Size, SizeMatrix, compose_yaml, parse_size
from collsched.topology.model import Topology
from collsched.topology.names import RankNames

MAX_TOTAL_WEIGHT = 2**31 - 1  # the sum of the shards' integer sizes; the planners multiply it by capacities in 64 bits
MAX_PAIRS_WEIGHT = 2**40  # the same of an all-to-all, whose planner does not


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


# What moves along trees that all ranks share; an all-to-all moves along one path a pair of ranks, or several.
KINDS = tuple(kind for kind in Kind if kind is not Kind.ALL_TO_ALL)


@dataclass(frozen=True, slots=True)
class Collective:
    """One collective on a group of ranks.

    The buffer is cut into shards. Shard i has the relative size `shards[i]` and the owner `owners[i]`, a rank number:

    - allgather, gather: the owner starts with the shard; every rank of the group (gather: `root`) ends with all;
    - reduce-scatter, scatter: the owner ends with the shard, reduced over the group (scatter: sent by `root`);
    - allreduce: the owner is where the two phases meet; every rank ends with all shards reduced;
    - broadcast, reduce: one shard, owned by `root`;
    - all-to-all: a shard for every ordered pair of ranks, by source, then by target: the owner, its source, starts with
      it, and its target ends with it. A rank's shards are its buffer; what it sends to itself stays where it is.

    `group` is ascending rank numbers; `shards` are coprime non-negative integers, not all zero.
    """

    kind: Kind
    group: tuple[int, ...]
    owners: tuple[int, ...]
    shards: tuple[int, ...]
    root: int | None = None

    @property
    def busbw_factor(self) -> Fraction:
        """busbw / algbw: how often the buffer crosses a rank's link where all links are used evenly."""
        members = len(self.group)
        if self.kind in (Kind.BROADCAST, Kind.REDUCE):
            return Fraction(1)
        return Fraction(members - 1, members) * (2 if self.kind is Kind.ALLREDUCE else 1)

    @property
    def weight(self) -> int:
        """W: the sizes of the shards of one buffer, the one whose bytes count: of an all-to-all, the largest rank's."""
        if self.kind is not Kind.ALL_TO_ALL:
            return sum(self.shards)
        count = len(self.group)
        return max(sum(self.shards[first : first + count]) for first in range(0, count * count, count))

    def total(self, count: int) -> int:
        """The elements (or bytes) of all buffers together where the one that counts has `count`: of an all-to-all as
        many as its ranks send, else `count`."""
        return count * sum(self.shards) // self.weight

    def target(self, shard: int) -> int:
        """The rank number that a shard of an all-to-all is sent to."""
        return self.group[shard % len(self.group)]


Who = Literal["owner", "root", "group", "target"]


@dataclass(frozen=True, slots=True)
class Promise:
    """The pre- and postcondition of a collective, for every shard alike.

    Before, each rank of `before` holds the shard: its own contribution if `reduced`, else the one source's data.
    After, each rank of `after` holds it: the sum of the whole group's contributions if `reduced`, each exactly once,
    else the source's data.
    """

    before: Who
    after: Who
    reduced: bool


PROMISES: Mapping[Kind, Promise] = {
    Kind.ALLREDUCE: Promise("group", "group", reduced=True),
    Kind.ALLGATHER: Promise("owner", "group", reduced=False),
    Kind.REDUCE_SCATTER: Promise("group", "owner", reduced=True),
    Kind.BROADCAST: Promise("root", "group", reduced=False),
    Kind.REDUCE: Promise("group", "root", reduced=True),
    Kind.GATHER: Promise("owner", "root", reduced=False),
    Kind.SCATTER: Promise("root", "owner", reduced=False),
    Kind.ALL_TO_ALL: Promise("owner", "target", reduced=False),
}


def holders(collective: Collective, shard: int, who: Who) -> tuple[int, ...]:
    """The rank numbers that `who` stands for, for one shard."""
    if who == "owner":
        return (collective.owners[shard],)
    if who == "root":
        return () if collective.root is None else (collective.root,)
    if who == "target":
        return (collective.target(shard),)
    return collective.group


def make_collective(
    topology: Topology,
    kind: Kind | str,
    *,
    group: str | Sequence[int | str] | None = None,
    root: int | str | None = None,
    shards: Mapping[str, Fraction | int] | None = None,
    matrix: SizeMatrix | Mapping[str, Mapping[str, Size]] | None = None,
) -> Collective:
    """A checked collective on ranks of `topology`.

    `group`: rank names or numbers, or one text such as "0-7,12" (see `RankNames.select`); all ranks if None.
    `root`: a rank name or number; the group's first rank if None.
    `shards`: rank name → relative size, for every rank of the group; equal sizes if None.
    `matrix`: of an all-to-all, source name → target name → relative size, 0 where there is none; equal sizes if None.
    Raises InputError where a name is unknown or an argument does not apply to the kind.
    """
    kind = parse_kind(kind)
    if not topology.ranks:
        raise InputError(f"topology {topology.name!r} has no rank; mark at least one node `kind: rank`")
    ranks = RankNames.of(topology)
    members = _members(ranks, group)
    root_rank = _root(ranks, kind, members, root)
    if matrix is not None and kind is not Kind.ALL_TO_ALL:
        raise InputError(f"{kind} has no sizes for pairs of ranks; leave out the matrix, or choose all-to-all")
    if root_rank is not None and kind in (Kind.BROADCAST, Kind.REDUCE):
        if shards is not None:
            raise InputError(f"{kind} has one shard, its root's; leave out the shard sizes")
        return Collective(kind, members, (root_rank,), (1,), root_rank)
    if kind is Kind.ALL_TO_ALL:
        if shards is not None:
            raise InputError("all-to-all has a size for each pair of ranks: give a matrix instead of shard sizes")
        count = len(members)
        pairs = (1,) * count**2 if matrix is None else _pair_sizes(ranks, members, matrix)
        return Collective(kind, members, tuple(rank for rank in members for _ in range(count)), pairs)
    sizes = (1,) * len(members) if shards is None else _integer_sizes(ranks, members, shards)
    return Collective(kind, members, members, sizes, root_rank)


def parse_kind(kind: Kind | str) -> Kind:
    """The kind of that name; spaces, underscores and capitals are forgiven. Raises InputError for any other name."""
    name = re.sub(r"[\s_]+", "-", str(kind).strip().lower())
    name = {"all-gather": "allgather", "all-reduce": "allreduce", "reducescatter": "reduce-scatter"}.get(name, name)
    name = "all-to-all" if name == "alltoall" else name
    if name in tuple(Kind):
        return Kind(name)
    raise InputError(f"unknown collective {str(kind)!r}; choose one of {', '.join(Kind)}")


def read_shards(path: str | Path) -> dict[str, Fraction]:
    """Shard sizes from a YAML file: one mapping, rank name → relative size (`3`, `12.5` or `1/3`, read exactly)."""
    import yaml

    path = Path(path)
    root = compose_yaml(path)
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}: expected one mapping, rank name → relative size, such as `gpu0: 3`")
    sizes: dict[str, Fraction] = {}
    for key, value in root.value:
        place = f"{path}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise InputError(f"{place}: expected `rank name: size`, one a line")
        if key.value in sizes:
            raise InputError(f"{place}: rank {key.value!r} has a size already; remove one of the two")
        sizes[key.value] = Fraction(parse_size(place, value.value))
    return sizes


def _members(ranks: RankNames, group: str | Sequence[int | str] | None) -> tuple[int, ...]:
    if group is None:
        return tuple(range(len(ranks.names)))
    numbers = ranks.select(group) if isinstance(group, str) else tuple(ranks.number(rank) for rank in group)
    if not numbers:
        raise InputError("group: no rank; name at least one")
    members = tuple(sorted(numbers))
    for one, two in pairwise(members):
        if one == two:
            raise InputError(f"group: rank {one} ({ranks.names[one]}) is named twice")
    return members


def _root(ranks: RankNames, kind: Kind, members: tuple[int, ...], root: int | str | None) -> int | None:
    if not kind.rooted:
        if root is not None:
            rooted = ", ".join(kind for kind in KINDS if kind.rooted)
            raise InputError(f"{kind} has no root; leave it out, or choose one of {rooted}")
        return None
    number = members[0] if root is None else ranks.number(root)
    if number not in members:
        raise InputError(
            f"root: rank {number} ({ranks.names[number]}) is not in the group; add it, or choose one inside"
        )
    return number


def _integer_sizes(ranks: RankNames, members: tuple[int, ...], shards: Mapping[str, Fraction | int]) -> tuple[int, ...]:
    """Sizes as coprime integers in the order of `members`."""
    names = [ranks.names[rank] for rank in members]
    inside = set(names)
    for name in shards:
        if name not in inside:
            reason = "it is not in the group" if name in ranks.numbers else ranks.unknown(name)
            raise InputError(f"shards: {name!r} has a size, but {reason}")
    for name in names:
        if name not in shards:
            raise InputError(f"shards: rank {name!r} has no size; give it one, 0 for none")
    return _as_integers("shards", [shards[name] for name in names], MAX_TOTAL_WEIGHT)


def _pair_sizes(
    ranks: RankNames, members: tuple[int, ...], matrix: SizeMatrix | Mapping[str, Mapping[str, Size]]
) -> tuple[int, ...]:
    """Sizes as coprime integers, by source, then by target, in the order of `members`."""
    if not isinstance(matrix, SizeMatrix):
        matrix = SizeMatrix({source: dict(targets) for source, targets in matrix.items()})
    names = [ranks.names[rank] for rank in members]
    inside = set(names)
    mentioned = dict.fromkeys(matrix.sizes) | dict.fromkeys(name for row in matrix.sizes.values() for name in row)
    for name in mentioned:
        if name not in inside:
            reason = "it is not in the group" if name in ranks.numbers else ranks.unknown(name)
            raise InputError(f"{matrix.place(name)}: {name!r:.60} has sizes, but {reason}")
    nothing: dict[str, Size] = {}
    rows = (matrix.sizes.get(source, nothing) for source in names)
    return _as_integers("matrix", [row.get(target, 0) for row in rows for target in names], MAX_PAIRS_WEIGHT)


def _as_integers(what: str, sizes: Sequence[Size], most: int) -> tuple[int, ...]:
    """Relative sizes as coprime integers. Raises InputError unless they are non-negative, not all 0 and sum to at most
    `most`."""
    if min(sizes) < 0 or max(sizes) == 0:
        raise InputError(f"{what}: sizes are non-negative numbers, not all zero")
    scale = lcm(*{Fraction(size).denominator for size in set(sizes)})
    integers = [int(size * scale) for size in sizes]
    common = gcd(*integers)
    total = sum(integers) // common
    if total > most:
        raise InputError(f"{what}: as whole numbers the sizes sum to {total}, above {most}; round them")
    return tuple(size // common for size in integers)
