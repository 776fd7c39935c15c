"""remote-operations: moves of a placement as signals, waits and accesses of remote memory, in few thread blocks.

Moves that wait for each other form a *component*: a chunk's way through the network. Components never touch each
other's data, so each is the work of one *group*, of which every rank has at most one block, and no two blocks of a
rank have anything to tell each other. In a group, moves happen in *waves*: what reads own data in wave 0, what reads
an arrival of wave w in wave w + 1. A block does its part of a wave as

    wait for the peers whose data or readiness the wave needs · reduce · put to peers · signal them

A copy is put into the peer's memory. A reduction within a host reads the children's memory (rre), once they have
signalled that it is ready; between hosts they put it into scratch, where it is reduced (re). Before the first wave a
block tells the peers that put into its memory that its call has begun. After the last it tells those that it has read
from, or that have put over a port, that they may return.

Components of a group start one wave after another, as a pipeline, if that leaves few enough operations; else together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from collsched.ir.operations import (
    MEMORY,
    PORT,
    ExecutorLimits,
    Operation,
    OperationBlock,
    OperationProgram,
    Part,
)
from collsched.ir.placement import Placement, Spot
from collsched.passes.remote_block import Share, block_operations

Place = tuple[int, Spot]  # a rank and where in its memory


@dataclass(frozen=True, slots=True)
class RemoteOperations:
    """Turn moves into operations. `host[rank]` tells which ranks share memory.

    At least `blocks` groups are made, as far as there are components, and more until every block is within the limits.
    What cannot be made to fit is left as it is: the executor's rules tell what is too much.
    """

    name: ClassVar[str] = "remote-operations"
    host: Sequence[object]
    blocks: int = 16
    limits: ExecutorLimits = field(default_factory=ExecutorLimits)

    def __call__(self, placement: Placement) -> OperationProgram:
        components = [_Component.of(placement, moves) for moves in _components(placement)]
        most = min(len(components), self.limits.blocks - any(placement.copies))
        for staggered in (True, False):
            groups = max(1, min(self.blocks, most))
            while True:
                program = self._program(placement, components, groups, staggered)
                if fits(program, self.limits):
                    return program
                if groups >= most:
                    break
                longest = max(len(block.operations) for blocks in program.blocks for block in blocks)
                groups = min(most, max(groups + 1, groups * longest // self.limits.operations))
        return program

    def _program(
        self, placement: Placement, components: Sequence[_Component], groups: int, staggered: bool
    ) -> OperationProgram:
        kinds = [PORT if self.host[move.src] != self.host[move.dst] else MEMORY for move in placement.moves]
        work = _Work(placement, kinds)
        for group, members in enumerate(_balance(components, groups, staggered, self.limits.operations)):
            for position, component in enumerate(members):
                work.add(group, component, position if staggered else 0)
        return OperationProgram(
            placement, tuple(work.scratch), tuple(self._blocks(work, r) for r in range(placement.ranks))
        )

    def _blocks(self, work: _Work, rank: int) -> tuple[OperationBlock, ...]:
        shares = sorted((group, share) for (group, at), share in work.shares.items() if at == rank)
        blocks = [OperationBlock(group, tuple(block_operations(share, self.limits.width))) for group, share in shares]
        copies = [
            Operation("copy", sources=(Part(copy.read, copy.units),), targets=(Part(copy.write, copy.units),))
            for copy in work.placement.copies
            if copy.rank == rank
        ]
        most = self.limits.operations
        return (*blocks, *(OperationBlock(None, tuple(copies[i : i + most])) for i in range(0, len(copies), most)))


def _components(placement: Placement) -> list[list[int]]:
    """The moves of each component, in order; the largest first."""
    leader = list(range(len(placement.moves)))

    def find(t: int) -> int:
        while leader[t] != t:
            leader[t] = leader[leader[t]]
            t = leader[t]
        return t

    for t, move in enumerate(placement.moves):
        for before in (move.after_read, move.after_write):
            if before >= 0:
                leader[find(t)] = find(before)
    parts: dict[int, list[int]] = defaultdict(list)
    for t in range(len(placement.moves)):
        parts[find(t)].append(t)
    return sorted(parts.values(), key=lambda part: (-sum(placement.moves[t].units for t in part), part))


@dataclass(frozen=True, slots=True)
class _Component:
    """Moves, the wave in which the source of each is ready, and for every place that is reduced, its moves and wave.

    `units[rank]` are what the rank sends, `active[rank]` has a bit for every wave in which it does something,
    `sums[rank]` counts its reductions.
    """

    moves: tuple[int, ...]
    ready: Mapping[int, int]
    into: Mapping[Place, Sequence[int]]
    summed: Mapping[Place, int]
    units: Mapping[int, int]
    active: Mapping[int, int]
    sums: Mapping[int, int]

    @classmethod
    def of(cls, placement: Placement, members: Sequence[int]) -> _Component:
        moves = placement.moves
        ready: dict[int, int] = {}
        summed: dict[Place, int] = {}
        into: dict[Place, list[int]] = defaultdict(list)
        units: dict[int, int] = defaultdict(int)
        active: dict[int, int] = defaultdict(int)
        for t in members:
            move = moves[t]
            ready[t] = 0
            if move.after_read >= 0:
                before = moves[move.after_read]
                ready[t] = summed[before.dst, before.write] if before.operand else ready[move.after_read] + 1
            if move.operand:
                place = (move.dst, move.write)
                summed[place] = max(summed.get(place, 0), ready[t] + 1)
                into[place].append(t)
            units[move.src] += move.units
            active[move.src] |= 1 << ready[t]
            active[move.dst] |= 2 << ready[t]
        return cls(tuple(members), ready, into, summed, units, active, Counter(rank for rank, _ in into))


_WAVE = 5  # operations of a wave: wait, nop, put, nop, signal
_ALL_WAVES, _MOST_SHIFT = (1 << 64) - 1, 63  # later waves are not told apart


def _balance(components: Sequence[_Component], groups: int, staggered: bool, limit: int) -> list[list[_Component]]:
    """The components of each group: the largest first, each where the busiest rank gets least to send, of the groups in
    which no rank gets too many operations, about `_WAVE` for every wave that it is active in and one a reduction."""
    ranks = 1 + max((rank for component in components for rank in component.active), default=0)
    load, sums = np.zeros((groups, ranks), np.int64), np.zeros((groups, ranks), np.int64)
    active = np.zeros((groups, ranks), np.uint64)
    parts: list[list[_Component]] = [[] for _ in range(groups)]
    for component in components:
        inside = sorted(component.active)
        units = np.array([component.units.get(rank, 0) for rank in inside])
        more = np.array([component.sums.get(rank, 0) for rank in inside])
        shift = np.array([min(len(part), _MOST_SHIFT) * staggered for part in parts], np.uint64)
        waves = np.array([component.active[rank] & _ALL_WAVES for rank in inside], np.uint64)[None, :] << shift[:, None]
        busy = _WAVE * np.bitwise_count(active[:, inside] | waves).astype(np.int64) + sums[:, inside] + more
        surplus = np.maximum(0, busy.max(axis=1) + 2 * _WAVE - limit)
        group = int(np.lexsort(((load[:, inside] + units).max(axis=1), surplus))[0])
        load[group, inside] += units
        sums[group, inside] += more
        active[group, inside] |= waves[group]
        parts[group].append(component)
    return parts


class _Work:
    """The shares of all ranks in all groups, filled component by component."""

    def __init__(self, placement: Placement, kinds: Sequence[str]) -> None:
        self.placement, self.kinds = placement, kinds
        self.scratch = list(placement.scratch)
        self.shares: dict[tuple[int, int], Share] = defaultdict(Share)

    def add(self, group: int, component: _Component, first: int) -> None:
        """Plan a component in a group, its wave 0 in wave `first`."""
        moves = self.placement.moves
        room = {t: self._room(t) for t in component.moves if moves[t].operand and self.kinds[t] == PORT}
        for t in component.moves:
            self._send(group, t, component, first, room.get(t))
        for (rank, spot), arrivals in component.into.items():
            share, wave = self.shares[group, rank], component.summed[rank, spot] + first
            share.reductions[wave].append((spot, [self._summand(t, room.get(t)) for t in arrivals], moves[arrivals[0]]))
            for t in arrivals:
                share.need(wave, moves[t].src, component.ready[t] + first)

    def _room(self, t: int) -> Spot:
        """Scratch at the receiver of a move over a port."""
        move = self.placement.moves[t]
        spot = Spot("s", self.scratch[move.dst])
        self.scratch[move.dst] += move.units
        return spot

    def _send(self, group: int, t: int, component: _Component, first: int, room: Spot | None) -> None:
        """The sender's part of a move: put the data, or let the receiver read it; and signal."""
        move, wave, kind = self.placement.moves[t], component.ready[t] + first, self.kinds[t]
        sender, receiver = self.shares[group, move.src], self.shares[group, move.dst]
        sender.channel[move.dst] = receiver.channel[move.src] = kind
        sender.signals[wave].add(move.dst)
        receiver.inbox[move.src].add(wave)
        if move.operand and kind == MEMORY:
            receiver.reads.add(move.src)
            sender.read_by.add(move.dst)
        else:
            sender.puts[wave].append((Part(move.read, move.units), Part(room or move.write, move.units, move.dst)))
            sender.puts_to.add(move.dst)
            receiver.put_by.add(move.src)
        before = move.after_read
        if before >= 0 and not self.placement.moves[before].operand:
            sender.need(wave, self.placement.moves[before].src, component.ready[before] + first)

    def _summand(self, t: int, room: Spot | None) -> Part:
        move = self.placement.moves[t]
        return Part(room, move.units) if room else Part(move.read, move.units, move.src)


def fits(program: OperationProgram, limits: ExecutorLimits) -> bool:
    return all(
        len(blocks) <= limits.blocks and all(_block_fits(block.operations, limits) for block in blocks)
        for blocks in program.blocks
    )


def _block_fits(operations: Sequence[Operation], limits: ExecutorLimits) -> bool:
    channels: dict[str | None, set[int]] = defaultdict(set)
    buffers: dict[str | None, set[tuple[int, str]]] = defaultdict(set)
    for operation in operations:
        channels[operation.channel].update(operation.peers)
        parts = (*operation.sources, *operation.targets)
        buffers[operation.channel].update((part.peer, part.spot.buffer) for part in parts if part.peer is not None)
    return (
        len(operations) <= limits.operations
        and max(map(len, channels.values()), default=0) <= limits.channels
        and max(map(len, buffers.values()), default=0) <= limits.buffers
    )
