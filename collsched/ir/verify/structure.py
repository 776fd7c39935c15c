"""First, the form: ids in range, routes that are paths, chunks that partition the shards. Rules as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Kind, Who, holders
from collsched.errors import VerificationError
from collsched.ir.schedule import REDUCE, Schedule
from collsched.topology.model import Topology

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]
Mask = NDArray[np.bool_]


class Facts:
    """What all parts of the verifier speak of. Each fact relies on the rules that stand before its first use."""

    def __init__(self, topology: Topology, schedule: Schedule) -> None:
        self.topology, self.schedule = topology, schedule
        self.collective = schedule.collective
        self.chunks, self.routes = schedule.chunks, schedule.routes
        self.transfers, self.joins, self.pace = schedule.transfers, schedule.joins, schedule.pace
        self.ranks = len(topology.ranks)
        self.places = len(topology.holders)  # of a chunk: at each rank, then at each switch that multicasts or reduces
        self._ranks_of: dict[Who, Ints] = {}

    def __len__(self) -> int:
        return len(self.transfers.chunk)

    @cached_property
    def link_src(self) -> Ints:
        return np.fromiter((link.src for link in self.topology.links), np.int64, len(self.topology.links))

    @cached_property
    def link_dst(self) -> Ints:
        return np.fromiter((link.dst for link in self.topology.links), np.int64, len(self.topology.links))

    @cached_property
    def holder_of(self) -> Ints:
        """Node id → number among `topology.holders`, a rank's being its own; −1 for a switch that only forwards."""
        holder_of = np.full(len(self.topology.nodes), -1, np.int64)
        holder_of[list(self.topology.holders)] = np.arange(self.places)
        return holder_of

    @cached_property
    def multicasts(self) -> Mask:
        """Holder → may it send what it holds more than once?"""
        return np.array([self.topology.nodes[i].kind == "rank" or self.topology.nodes[i].multicast
                         for i in self.topology.holders], bool)  # fmt: skip

    @cached_property
    def reduces(self) -> Mask:
        """Holder → may it add to what it holds?"""
        return np.array([self.topology.nodes[i].kind == "rank" or self.topology.nodes[i].reduce
                         for i in self.topology.holders], bool)  # fmt: skip

    @cached_property
    def multiplied(self) -> Mask:
        """Transfers of a chunk out of a switch that has sent it before and cannot multicast."""
        multiplied = np.zeros(len(self), bool)
        single = np.flatnonzero(~self.multicasts[self.src])
        place = self.transfers.chunk[single] * np.int64(self.places) + self.src[single]
        multiplied[np.delete(single, np.unique(place, return_index=True)[1])] = True
        return multiplied

    @cached_property
    def inner(self) -> Ints:
        """Entries of `routes.links` that another link of the same route follows."""
        inner = np.ones(len(self.routes.links), bool)
        inner[self.routes.ptr[1:] - 1] = False
        return np.flatnonzero(inner)

    @cached_property
    def route_src(self) -> Ints:
        """Holder at which each route starts, −1 if that node only forwards."""
        return self.holder_of[self.link_src[self.routes.links[self.routes.ptr[:-1]]]]

    @cached_property
    def route_dst(self) -> Ints:
        return self.holder_of[self.link_dst[self.routes.links[self.routes.ptr[1:] - 1]]]

    @cached_property
    def src(self) -> Ints:
        """The holder that each transfer reads."""
        return self.route_src[self.transfers.route]

    @cached_property
    def dst(self) -> Ints:
        return self.route_dst[self.transfers.route]

    @cached_property
    def join_sizes(self) -> Ints:
        return np.diff(self.joins.ptr)

    @cached_property
    def paced_transfer(self) -> Ints:
        """The transfer that each entry of the pace belongs to."""
        return np.repeat(np.arange(len(self.pace.ptr) - 1), np.diff(self.pace.ptr))

    @cached_property
    def gaps(self) -> Mask:
        """[chunks + 1] Chunks, ordered by shard and offset, that do not start where the one before ends; the last entry
        tells whether some shard with a weight has no end."""
        c = self.chunks
        order = np.lexsort((c.offset, c.shard))
        shard, begin, end = c.shard[order], c.offset[order], (c.offset + c.length)[order]
        first = np.append(True, shard[1:] != shard[:-1])[: len(order)]
        previous = np.where(first, 0, np.roll(end, 1))
        last = np.append(shard[1:] != shard[:-1], True)[: len(order)]
        broken = (begin != previous) | (last & (end != c.denominator[order]))
        gaps = np.zeros(len(order) + 1, bool)
        gaps[:-1][order] = broken
        gaps[-1] = not np.array_equal(shard[first], np.flatnonzero(self.collective.shards))
        return gaps

    def ranks_of(self, who: Who) -> Ints:
        """[shards, ranks] The rank numbers that `who` stands for, of every shard; one row where they are the same."""
        if who not in self._ranks_of:
            shards = range(1 if who in ("group", "root") else len(self.collective.shards))
            self._ranks_of[who] = np.array([holders(self.collective, shard, who) for shard in shards], np.int64)
        return self._ranks_of[who]

    def holder_name(self, holder: int) -> str:
        return self.topology.nodes[self.topology.holders[holder]].name

    def chunk_name(self, chunk: int) -> str:
        c = self.chunks
        begin, end = int(c.offset[chunk]), int(c.offset[chunk] + c.length[chunk])
        shard = int(c.shard[chunk])
        owner = self.holder_name(self.collective.owners[shard])
        if self.collective.kind is Kind.ALL_TO_ALL:
            owner += f" for {self.holder_name(self.collective.target(shard))}"
        return f"chunk {chunk} ([{begin}, {end}) / {c.denominator[chunk]} of the shard of {owner})"

    def transfer_name(self, transfer: int) -> str:
        src, dst = self.holder_name(int(self.src[transfer])), self.holder_name(int(self.dst[transfer]))
        return f"transfer {transfer} of {self.chunk_name(int(self.transfers.chunk[transfer]))}, {src} → {dst}"


@dataclass(frozen=True, slots=True)
class Rule:
    """`broken` marks what violates the rule; `witness` puts the first of it into words."""

    name: str
    broken: Callable[[Facts], Mask]
    witness: Callable[[Facts, int], str]
    why: str


def _outside(ids: NDArray[np.integer], size: int) -> Mask:
    return (ids < 0) | (ids >= size)


def _cuts(ptr: Ints, size: int, parts: int | None = None) -> bool:
    """Does `ptr` cut an array of `size` entries into consecutive parts (as many as `parts`, if given)?"""
    return (
        len(ptr) > 0
        and parts in (None, len(ptr) - 1)
        and ptr[0] == 0
        and ptr[-1] == size
        and bool((np.diff(ptr) >= 0).all())
    )


def _unequal(*columns: NDArray[np.generic]) -> Mask:
    return np.array([len({len(column) for column in columns}) != 1])


def _unordered_members(f: Facts) -> Mask:
    """Members that do not exceed the one before them in the same join."""
    broken = np.append(False, f.joins.member[1:] <= f.joins.member[:-1])[: len(f.joins.member)]
    starts = f.joins.ptr[:-1]
    broken[starts[starts < len(broken)]] = False
    return broken


RULES = (
    Rule(
        "columns",
        lambda f: (
            _unequal(*(getattr(f.transfers, c) for c in ("chunk", "route", "op", "join", "channel")))
            | _unequal(*(getattr(f.chunks, c) for c in ("shard", "offset", "length", "denominator")))
        ),
        lambda f, _: "columns of transfers or chunks differ in length",
        "every transfer and every chunk has all its attributes",
    ),
    Rule(
        "parts",
        lambda f: np.array(
            [not (_cuts(f.routes.ptr, len(f.routes.links)) and _cuts(f.joins.ptr, len(f.joins.member)))]
        ),
        lambda f, _: "`ptr` does not cut the links of routes or the members of joins into consecutive parts",
        "every entry belongs to one route or join",
    ),
    Rule(
        "empty route",
        lambda f: np.diff(f.routes.ptr) == 0,
        lambda f, i: f"route {i} has no link",
        "data moves over links",
    ),
    Rule(
        "first join",
        lambda f: f.join_sizes[:1] != 0 if len(f.join_sizes) else np.array([True]),
        lambda f, _: "join 0 is missing or not empty",
        "join 0 is what waits for nothing",
    ),
    Rule(
        "link ids",
        lambda f: _outside(f.routes.links, len(f.topology.links)),
        lambda f, i: f"link id {f.routes.links[i]}, but links are 0 … {len(f.topology.links) - 1}",
        "a route uses links of the topology",
    ),
    Rule(
        "transfer ids",
        lambda f: (
            _outside(f.transfers.chunk, len(f.chunks.shard))
            | _outside(f.transfers.route, len(f.routes.ptr) - 1)
            | _outside(f.transfers.join, len(f.joins.ptr) - 1)
            | (f.transfers.op > REDUCE)
            | (f.transfers.channel < 0)
        ),
        lambda f, i: f"transfer {i} has a chunk, route, join, operation or channel that does not exist",
        "references lead somewhere",
    ),
    Rule(
        "join members",
        lambda f: _outside(f.joins.member, len(f)) | _unordered_members(f),
        lambda f, i: f"member {f.joins.member[i]} is no transfer, or not above the member before it",
        "a join is a set of transfers, in ascending order",
    ),
    Rule(
        "pace parts",
        lambda f: np.array([f.schedule.paced and not _cuts(f.pace.ptr, len(f.pace.member), parts=len(f))]),
        lambda f, _: "`pace.ptr` does not cut the pace of transfers into consecutive parts, one a transfer",
        "a schedule paces all of its transfers or none",
    ),
    Rule(
        "pace",
        lambda f: (f.pace.member < 0) | (f.pace.member >= f.paced_transfer),
        lambda f, i: f"{f.transfer_name(int(f.paced_transfer[i]))} is paced by one that does not stand before it",
        "pace follows the order of issue, so that nobody waits for ever",
    ),
    Rule(
        "path",
        lambda f: f.link_dst[f.routes.links[f.inner]] != f.link_src[f.routes.links[f.inner + 1]],
        lambda f, i: f"after link {f.routes.links[f.inner[i]]} comes link {f.routes.links[f.inner[i] + 1]}, elsewhere",
        "a route is a path of links",
    ),
    Rule(
        "route ends",
        lambda f: (f.route_src < 0) | (f.route_dst < 0) | (f.route_src == f.route_dst),
        lambda f, i: f"route {i} does not run from one rank to another, nor to a switch that multicasts or reduces",
        "only these hold data",
    ),
    Rule(
        "route inside",
        lambda f: _outside(f.holder_of[f.link_dst[f.routes.links[f.inner]]], f.ranks) == 0,
        lambda f, i: f"a route passes through {f.topology.nodes[f.link_dst[f.routes.links[f.inner[i]]]].name}",
        "between its ends a route crosses switches only",
    ),
    Rule(
        "chunk",
        lambda f: _outside(f.chunks.shard, len(f.collective.shards)) | (f.chunks.offset < 0) | (f.chunks.length < 1),
        lambda f, i: f"chunk {i} has no such shard, starts before it or is empty",
        "a chunk is a part of a shard",
    ),
    Rule(
        "partition",
        lambda f: f.gaps,
        lambda f, i: (
            f"{f.chunk_name(i)} leaves a gap or overlaps" if i < len(f.chunks.shard) else "some shard has no chunk"
        ),
        "the chunks of a shard, in units of one denominator, cover it exactly once",
    ),
    Rule(
        "operation",
        lambda f: (f.transfers.op == REDUCE) & (not f.collective.kind.reduces),
        lambda f, i: f"{f.transfer_name(i)} reduces in a {f.collective.kind}",
        "data that nobody sums must arrive as it was",
    ),
    Rule(
        "in-network reduction",
        lambda f: (f.transfers.op == REDUCE) & ~f.reduces[f.dst],
        lambda f, i: f"{f.transfer_name(i)} reduces at a switch that cannot",
        "a switch sums only if the topology says so",
    ),
    Rule(
        "in-network multicast",
        lambda f: f.multiplied,
        lambda f, i: f"{f.transfer_name(i)} is sent again by a switch that cannot multicast",
        "a switch copies only if the topology says so",
    ),
)


def check_structure(facts: Facts) -> None:
    """Raises VerificationError for the first rule that is broken."""
    for rule in RULES:
        broken = np.flatnonzero(rule.broken(facts))
        if len(broken):
            fail(rule.name, rule.witness(facts, int(broken[0])), rule.why)


def fail(rule: str, witness: str, why: str) -> None:
    raise VerificationError(f"the schedule breaks the rule “{rule}”: {witness}; {why}")
