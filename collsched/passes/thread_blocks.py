"""thread-blocks: pack the moves of a placement into few thread blocks and channels.

All moves from one rank to another share a *lane*, or several if they have more steps than a block may have. A lane is
one connection on one channel; it has a block of its own at either end:

    rank 0   block [send → 1]   s c0   s c4          rank 1   block [recv ← 0]   r c0   rrc c4
                                                              block [send → 2]   s c0 (after the r c0)

Only if a rank has more connections than the loader has blocks, a send and a receive on one channel share a block. In
every block steps stand in the order of the moves, which is topological. So blocks cannot wait for each other in a
circle, even if a connection holds nothing: of all blocked steps, that of the first move has nothing left to wait for.

A step waits for at most one other: reductions into one place form a chain, and what reads the place waits for its end.
What is waited for are receives; their blocks come first, since a loader can only name the first ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, NamedTuple

from collsched.ir.blocks import Block, BlockProgram, Loader, Step
from collsched.ir.placement import Copy, Move, Placement, Spot


class _Lane(NamedTuple):
    src: int
    dst: int
    channel: int


@dataclass(frozen=True, slots=True)
class _Ends:
    """The lanes of one block."""

    send: _Lane | None
    recv: _Lane | None

    @property
    def order(self) -> tuple[bool, _Lane]:
        """Receives first; the lanes of one channel beside each other."""
        lane = self.recv or self.send or _Lane(0, 0, 0)
        return self.recv is None, _Lane(lane.channel, lane.src, lane.dst)


@dataclass(frozen=True, slots=True)
class ThreadBlocks:
    """Pack for a loader; the moves of two ranks take `channels` lanes at least, as far as there are so many moves.

    What does not fit is packed as well as it goes: the loader's rules tell what is too much.
    """

    name: ClassVar[str] = "thread-blocks"
    loader: Loader
    channels: int = 1

    def __call__(self, placement: Placement) -> BlockProgram:
        steps = [-(-move.units // self.loader.count) for move in placement.moves]
        lanes = _assign_channels(placement.ranks, _cut_into_lanes(placement, steps, self), self.loader.peers)
        copies: list[list[Copy]] = [[] for _ in range(placement.ranks)]
        for copy in placement.copies:
            copies[copy.rank] += _cut_copy(copy, self.loader.count)
        size = {lane: sum(steps[t] for t in moves) for lane, moves in lanes.items()}
        blocks = []
        for rank in range(placement.ranks):
            spare = self.loader.blocks - -(-len(copies[rank]) // self.loader.steps)
            ends = _share_blocks(rank, size, self.loader, spare)
            made = _blocks(placement, lanes, ends, self.loader.count)
            made += _copy_blocks(copies[rank], self.loader.steps)
            blocks.append(tuple(made))
        return BlockProgram(placement, 1 + max((lane.channel for lane in lanes), default=0), tuple(blocks))


def _cut_into_lanes(
    placement: Placement, steps: Sequence[int], options: ThreadBlocks
) -> dict[tuple[int, int], list[list[int]]]:
    """The moves of every two ranks, cut into lanes of about equal units within the loader's steps: the longest move
    first, each into the emptiest lane that has room."""
    pairs: dict[tuple[int, int], list[int]] = defaultdict(list)
    for t, move in enumerate(placement.moves):
        pairs[move.src, move.dst].append(t)
    most = options.loader.steps
    lanes = {}
    for pair, moves in pairs.items():
        count = max(-(-sum(steps[t] for t in moves) // most), min(options.channels, len(moves)))
        parts: list[list[int]] = [[] for _ in range(count)]
        units, room = [0] * count, [most] * count
        for t in sorted(moves, key=lambda t: (-placement.moves[t].units, t)):
            fitting = [lane for lane, left in enumerate(room) if left >= steps[t]] or [len(parts)]
            lane = min(fitting, key=lambda lane: (units[lane] if lane < len(parts) else 0, lane))
            if lane == len(parts):
                parts.append([])
                units.append(0)
                room.append(most)
            parts[lane].append(t)
            units[lane] += placement.moves[t].units
            room[lane] -= steps[t]
        lanes[pair] = [sorted(part) for part in parts if part]
    return lanes


def _assign_channels(
    ranks: int, pairs: Mapping[tuple[int, int], Sequence[list[int]]], peers: int
) -> dict[_Lane, list[int]]:
    """A channel for every lane: the lowest that its pair does not use and where both ends have a peer to spare.

    Pairs at equal distance come together: each rank sends and receives once among them, so channels fill evenly.
    """
    sends: list[dict[int, int]] = [defaultdict(int) for _ in range(ranks)]  # lanes that leave the rank on each channel
    recvs: list[dict[int, int]] = [defaultdict(int) for _ in range(ranks)]
    lanes = {}
    for (src, dst), parts in sorted(pairs.items(), key=lambda item: ((item[0][1] - item[0][0]) % ranks, item[0])):
        channel = -1
        for moves in parts:
            channel += 1
            while max(sends[src][channel], recvs[dst][channel]) >= peers:
                channel += 1
            sends[src][channel] += 1
            recvs[dst][channel] += 1
            lanes[_Lane(src, dst, channel)] = moves
    return lanes


def _share_blocks(rank: int, size: Mapping[_Lane, int], loader: Loader, blocks: int) -> list[_Ends]:
    """The blocks of a rank that serve its lanes, at most `blocks` of them if sharing can do it.

    Small sends share with the largest receives that leave them room, so that many find a partner.
    """
    sends = sorted((lane for lane in size if lane.src == rank), key=lambda lane: (size[lane], lane))
    recvs = sorted((lane for lane in size if lane.dst == rank), key=lambda lane: (-size[lane], lane))
    surplus = len(sends) + len(recvs) - blocks
    partner: dict[_Lane, _Lane] = {}
    for send in sends:
        if len(partner) >= surplus:
            break
        taken = set(partner.values())
        for recv in recvs:
            if recv.channel == send.channel and recv not in taken and size[recv] + size[send] <= loader.steps:
                partner[send] = recv
                break
    taken = set(partner.values())
    ends = [_Ends(send, partner.get(send)) for send in sends] + [
        _Ends(None, lane) for lane in recvs if lane not in taken
    ]
    return sorted(ends, key=lambda both: both.order)


def _blocks(placement: Placement, lanes: Mapping[_Lane, list[int]], layout: Sequence[_Ends], most: int) -> list[Block]:
    """The blocks of one rank, with what each step waits for."""
    queues = []
    for ends in layout:
        sends = [(t, True) for t in (lanes[ends.send] if ends.send else ())]
        queues.append(sorted(sends + [(t, False) for t in (lanes[ends.recv] if ends.recv else ())]))
    received: dict[int, tuple[int, int]] = {}  # move → block and first step that receive it
    for block, queue in enumerate(queues):
        step = 0
        for t, is_send in queue:
            if not is_send:
                received[t] = block, step
            step += -(-placement.moves[t].units // most)
    made = [
        [step for t, is_send in queue for step in _steps(placement.moves[t], is_send, block, received, most)]
        for block, queue in enumerate(queues)
    ]
    for after in {step.after for steps in made for step in steps if step.after}:
        made[after[0]][after[1]] = replace(made[after[0]][after[1]], awaited=True)
    return [
        Block(
            ends.send.dst if ends.send else None,
            ends.recv.src if ends.recv else None,
            (ends.send or ends.recv or _Lane(0, 0, 0)).channel,
            tuple(steps),
        )
        for ends, steps in zip(layout, made, strict=True)
    ]


def _steps(move: Move, is_send: bool, block: int, received: Mapping[int, tuple[int, int]], most: int) -> Iterator[Step]:
    """The steps of one end of a move. Piece by piece, they wait for the pieces of the move before."""
    op = "s" if is_send else "r" if move.operand is None else "rrc"
    read = move.operand if not is_send and move.operand else move.read
    before = received.get(move.after_read if is_send else move.after_write)
    for i, (offset, units) in enumerate(_pieces(move.units, most)):
        after = None if before is None or before[0] == block else (before[0], before[1] + i)
        yield Step(op, _moved(read, offset), _moved(move.write, offset), units, after, False)


def _pieces(units: int, most: int) -> list[tuple[int, int]]:
    """(offset, length) of parts of at most `most` units, as equal as they can be."""
    count = -(-units // most)
    borders = [units * i // count for i in range(count + 1)]
    return [(begin, end - begin) for begin, end in pairwise(borders)]


def _moved(spot: Spot, by: int) -> Spot:
    return Spot(spot.buffer, spot.offset + by)


def _cut_copy(copy: Copy, most: int) -> list[Copy]:
    return [
        Copy(copy.rank, units, _moved(copy.read, offset), _moved(copy.write, offset))
        for offset, units in _pieces(copy.units, most)
    ]


def _copy_blocks(copies: Sequence[Copy], most: int) -> list[Block]:
    steps = [Step("cpy", copy.read, copy.write, copy.units, None, False) for copy in copies]
    return [Block(None, None, 0, tuple(steps[i : i + most])) for i in range(0, len(steps), most)]
