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
from collsched.topology.model import Topology
from collsched.topology.names import RankNames

MAX_TOTAL_WEIGHT = 2**31 - 1  # the sum of the shards' integer sizes; the planners multiply it by capacities in 64 bits


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
      it, and its target ends with it. A rank's shards are its buffer.

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
    def buffers(self) -> int:
        """How many buffers the shards make up: one, but in an all-to-all one a rank."""
        return len(self.group) if self.kind is Kind.ALL_TO_ALL else 1

    @property
    def weight(self) -> int:
        """W: the sizes of the shards of one buffer, the one whose bytes count."""
        return sum(self.shards) // self.buffers

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
) -> Collective:
    """A checked collective on ranks of `topology`.

    `group`: rank names or numbers, or one text such as "0-7,12" (see `RankNames.select`); all ranks if None.
    `root`: a rank name or number; the group's first rank if None.
    `shards`: rank name → relative size, for every rank of the group; equal sizes if None.
    Raises InputError where a name is unknown or an argument does not apply to the kind.
    """
    kind = parse_kind(kind)
    if not topology.ranks:
        raise InputError(f"topology {topology.name!r} has no rank; mark at least one node `kind: rank`")
    ranks = RankNames.of(topology)
    members = _members(ranks, group)
    root_rank = _root(ranks, kind, members, root)
    if root_rank is not None and kind in (Kind.BROADCAST, Kind.REDUCE):
        if shards is not None:
            raise InputError(f"{kind} has one shard, its root's; leave out the shard sizes")
        return Collective(kind, members, (root_rank,), (1,), root_rank)
    if kind is Kind.ALL_TO_ALL:
        if shards is not None:
            raise InputError("all-to-all has shards of one size; leave out the shard sizes")
        count = len(members)
        return Collective(kind, members, tuple(rank for rank in members for _ in range(count)), (1,) * count**2)
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
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=loader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{place}: not YAML: {getattr(error, 'problem', None) or 'not UTF-8 text'}") from None
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}: expected one mapping, rank name → relative size, such as `gpu0: 3`")
    sizes: dict[str, Fraction] = {}
    for key, value in root.value:
        place = f"{path}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise InputError(f"{place}: expected `rank name: size`, one a line")
        if key.value in sizes:
            raise InputError(f"{place}: rank {key.value!r} has a size already; remove one of the two")
        sizes[key.value] = _parse_size(place, value.value)
    return sizes


def _parse_size(place: str, text: str) -> Fraction:
    if not re.fullmatch(r"\d{1,10}(\.\d{1,9})?|\d{1,10}/0*[1-9]\d{0,9}", text):
        raise InputError(f"{place}: size {text!r}; a non-negative number such as 3, 12.5 or 1/3")
    return Fraction(text)


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
    sizes = [Fraction(shards[name]) for name in names]
    if min(sizes) < 0 or max(sizes) == 0:
        raise InputError("shards: sizes are non-negative numbers, not all zero")
    scale = lcm(*(size.denominator for size in sizes))
    integers = [int(size * scale) for size in sizes]
    common = gcd(*integers)
    total = sum(integers) // common
    if total > MAX_TOTAL_WEIGHT:
        raise InputError(f"shards: as whole numbers the sizes sum to {total}, above {MAX_TOTAL_WEIGHT}; round them")
    return tuple(size // common for size in integers)
