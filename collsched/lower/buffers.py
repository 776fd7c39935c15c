"""A schedule on the buffers that a caller passes: input, output, scratch, all in equal *units*.

The working buffer of a schedule holds every chunk at every rank. A collective library hands over less: an input, an
output, and scratch that it allocates itself. So a place (chunk, rank) becomes up to two spots:

    own    where the rank's contribution lies before: in the input, which stays as it was
    work   where what arrives goes: in the output if the rank is promised the chunk, else in scratch

A transfer reads `work` once something has arrived (its join is not empty), `own` before. The first reduction into a
place adds what arrives to `own` and writes `work`; later ones add to `work`, one at a time, in the order of their
indices. So every instruction waits for at most one other of its rank. What is promised and never arrives is copied
from own to work.

    out of place    own (input) ──▶ work (output)          in place    own = work

A unit is the largest part of the buffer of which every chunk is a whole number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import accumulate
from math import gcd

import numpy as np

from collsched.collective import PROMISES, Collective, Kind, holders
from collsched.errors import InputError
from collsched.ir.placement import Copy, Move, Placement, Spot
from collsched.ir.schedule import REDUCE, Chunks, Schedule
from collsched.lower.programs import check_ranks_alone
from collsched.topology.model import Topology

MAX_UNITS = 1 << 16  # what is told apart in a buffer
KINDS = (Kind.ALLREDUCE, Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.BROADCAST, Kind.REDUCE, Kind.ALL_TO_ALL)
_ONE_COUNT = (Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALL_TO_ALL)


def place(topology: Topology, schedule: Schedule, *, in_place: bool = False) -> Placement:
    """Put the transfers of a schedule on input, output and scratch; linear in transfers.

    Ranks are numbered by their position in the group. Raises InputError for a collective that GPU runtimes do not call,
    for ranks outside the group that relay, for unequal shards where a call has one count, and for an all-to-all in
    place; MissingComponentError for switches that copy or sum.
    """
    collective = schedule.collective
    _check(collective, in_place)
    check_ranks_alone(topology, schedule.routes)
    member = {rank: i for i, rank in enumerate(collective.group)}
    spots = _Spots(collective, schedule.chunks, in_place)
    moves: list[Move] = []
    written: dict[tuple[int, int], int] = {}  # (chunk, rank) → the last move into its work spot
    for t, (chunk, src, dst, reduces, after) in enumerate(rows(topology, schedule)):
        for rank in (src, dst):
            if rank not in member:
                _refuse_relay(topology, rank)
        before = written.get((chunk, dst), -1) if reduces else -1
        moves.append(
            Move(
                member[src],
                member[dst],
                spots.length[chunk],
                spots.own(chunk, src) if after < 0 else spots.work(chunk, src),
                spots.work(chunk, dst),
                None if not reduces else spots.own(chunk, dst) if before < 0 else spots.work(chunk, dst),
                after,
                before,
            )
        )
        written[chunk, dst] = t
    return Placement(
        kind=str(collective.kind),
        ranks=len(member),
        root=None if collective.root is None else member[collective.root],
        in_place=in_place,
        units=spots.units,
        input=spots.part if collective.kind is Kind.ALLGATHER else spots.units,
        output=spots.part if collective.kind is Kind.REDUCE_SCATTER else spots.units,
        scratch=tuple(spots.scratch.get(rank, 0) for rank in collective.group),
        moves=tuple(moves),
        copies=tuple(_joined(_copies(spots, member, set(written)))),
    )


def _check(collective: Collective, in_place: bool) -> None:
    if collective.kind not in KINDS:
        raise InputError(f"{collective.kind}: GPU runtimes do not call it; choose {', '.join(KINDS)}")
    if collective.kind in _ONE_COUNT and len(set(collective.shards)) > 1:
        raise InputError(
            f"{collective.kind} of unequal shards: a call has one count; compile without --shards or --matrix"
        )
    if collective.kind is Kind.ALL_TO_ALL and in_place:
        raise InputError("all-to-all in place would overwrite what is still to be sent; export it out of place")


def _refuse_relay(topology: Topology, rank: int) -> None:
    name = topology.nodes[topology.ranks[rank]].name
    raise InputError(
        f"rank {rank} ({name}) relays for the group without being in it, but a communicator holds its group alone; "
        "compile for a larger --group"
    )


def rows(topology: Topology, schedule: Schedule) -> Iterator[tuple[int, int, int, bool, int]]:
    """(chunk, src, dst, reduces, last member of the join or −1) of every transfer, in order."""
    rank_of = np.full(len(topology.nodes), -1, np.int64)
    rank_of[list(topology.ranks)] = np.arange(len(topology.ranks))
    transfers, joins = schedule.transfers, schedule.joins
    ends = [rank_of[nodes][transfers.route].tolist() for nodes in schedule.routes.ends(topology)]
    members = np.append(joins.member, -1)[joins.ptr[1:] - 1]  # ascending, so the last is the latest
    after = np.where(np.diff(joins.ptr) > 0, members, -1)[transfers.join].tolist()
    return zip(transfers.chunk.tolist(), *ends, (transfers.op == REDUCE).tolist(), after, strict=True)


class _Spots:
    """Where every chunk lies at every rank. `start` and `offset` of a chunk count from the buffer's and its shard's
    start; `part` is the length of one of n equal shards; all in units."""

    def __init__(self, collective: Collective, chunks: Chunks, in_place: bool) -> None:
        self.collective, self.in_place = collective, in_place
        self.shard = chunks.shard.tolist()
        unit = _unit(collective, chunks)
        scale = [
            Fraction(collective.shards[s], int(d)) / unit for s, d in zip(self.shard, chunks.denominator, strict=True)
        ]
        before = [int(weight / unit) for weight in accumulate(collective.shards, initial=0)]
        self.offset = [int(int(value) * factor) for value, factor in zip(chunks.offset, scale, strict=True)]
        self.length = [int(int(value) * factor) for value, factor in zip(chunks.length, scale, strict=True)]
        self.start = [before[s] + offset for s, offset in zip(self.shard, self.offset, strict=True)]
        self.units = int(collective.weight / unit)
        if self.units > MAX_UNITS:
            raise InputError(
                f"the plan cuts the buffer into {self.units} units, allowed are {MAX_UNITS}; compile with fewer "
                "trees (--trees-per-root 1), or an allreduce with --allreduce two-phase"
            )
        self.part = self.units // len(collective.group)
        self.scratch: dict[int, int] = {}
        self._relayed: dict[tuple[int, int], Spot] = {}

    def own(self, chunk: int, rank: int) -> Spot:
        """Where the contribution of a rank lies, of those that have one."""
        match self.collective.kind:
            case Kind.ALLGATHER:
                return Spot("o", self.start[chunk]) if self.in_place else Spot("i", self.offset[chunk])
            case Kind.ALL_TO_ALL:
                return Spot("i", self.shard[chunk] % len(self.collective.group) * self.part + self.offset[chunk])
            case _:
                return Spot("i", self.start[chunk])

    def work(self, chunk: int, rank: int) -> Spot:
        if not self.promised(chunk, rank):
            if (chunk, rank) not in self._relayed:
                self._relayed[chunk, rank] = Spot("s", self.scratch.get(rank, 0))
                self.scratch[rank] = self.scratch.get(rank, 0) + self.length[chunk]
            return self._relayed[chunk, rank]
        match self.collective.kind:
            case Kind.REDUCE_SCATTER if not self.in_place:
                return Spot("o", self.offset[chunk])
            case Kind.ALL_TO_ALL:
                return Spot("o", self.shard[chunk] // len(self.collective.group) * self.part + self.offset[chunk])
            case _ if self.in_place:
                return self.own(chunk, rank)
            case _:
                return Spot("o", self.start[chunk])

    def promised(self, chunk: int, rank: int) -> bool:
        after = PROMISES[self.collective.kind].after
        return after == "group" or rank in holders(self.collective, self.shard[chunk], after)


def _unit(collective: Collective, chunks: Chunks) -> Fraction:
    """The unit, in shard weight: the greatest common divisor of where chunks start and end."""
    unit = Fraction(0)
    for shard in np.unique(chunks.shard).tolist():
        of = chunks.shard == shard
        denominator = int(chunks.denominator[of][0])
        common = gcd(denominator, *chunks.offset[of].tolist(), *chunks.length[of].tolist())
        part = Fraction(collective.shards[shard] * common, denominator)
        numerator = gcd(unit.numerator * part.denominator, part.numerator * unit.denominator)
        unit = Fraction(numerator, unit.denominator * part.denominator)
    return unit


def _copies(spots: _Spots, member: dict[int, int], arrives: set[tuple[int, int]]) -> Iterator[Copy]:
    """Results that no transfer brings: a rank's own data."""
    before, after = PROMISES[spots.collective.kind].before, PROMISES[spots.collective.kind].after
    for chunk, shard in enumerate(spots.shard):
        sources = set(holders(spots.collective, shard, before))
        for rank in holders(spots.collective, shard, after):
            read, write = spots.own(chunk, rank), spots.work(chunk, rank)
            if rank in sources and (chunk, rank) not in arrives and read != write:
                yield Copy(member[rank], spots.length[chunk], read, write)


def _joined(copies: Iterable[Copy]) -> Iterator[Copy]:
    """Copies that continue each other become one."""
    last: Copy | None = None
    for copy in sorted(copies, key=lambda copy: (copy.rank, copy.write, copy.read)):
        if last is not None and (copy.rank, copy.read, copy.write) == (
            last.rank,
            Spot(last.read.buffer, last.read.offset + last.units),
            Spot(last.write.buffer, last.write.offset + last.units),
        ):
            last = Copy(last.rank, last.units + copy.units, last.read, last.write)
            continue
        if last is not None:
            yield last
        last = copy
    if last is not None:
        yield last
