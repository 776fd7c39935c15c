"""A schedule as waves of sends and receives, for a library that pairs them and completes them by groups (NCCL).

All that a rank sends and receives in wave w is one group. A group is complete when all of its calls are, so both ends
of a transfer must have it in the same wave: each rank numbers the transfers of *all* ranks, in the same way. Waves
cannot deadlock: a rank's calls of wave w have their counterparts in wave w of other ranks, and the rank that is
furthest behind never waits for a later wave. Between two ranks the calls of a wave are in the order of the schedule, at
both ends.

    wave 1   0 ─c─▶ 1     2 ─d─▶ 1        what is copied goes to its place; what is reduced is put down beside it,
    wave 2   1 ─c─▶ 2     1 ─d─▶ 0        and after the wave added to the chunk, in the order of the schedule

A rank reads a chunk of version 0 from the input. Later versions live in the output, if the rank gets the chunk, else in
memory of the engine. Input and output may be one array: a chunk is not written before all have read what it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collsched.ir.schedule import REDUCE, Schedule
from collsched.lower.programs import transfer_ranks
from collsched.topology.model import Topology

Ints = NDArray[np.int64]
WIDTHS = (1, 2, 4, 8, 1 << 30)  # transfers of one lane in a wave


@dataclass(frozen=True, slots=True)
class Fold:
    """After the wave: chunk := what it was (`given`: the input; else where it lives) combined with what was put down by
    these receives of the wave, in this order."""

    chunk: int
    given: bool
    receives: tuple[int, ...]


@dataclass(slots=True)
class Wave:
    """One rank's calls: sends of (peer, chunk, whether from the input), receives of (peer, chunk, whether it is to be
    reduced), in the order in which they are issued; and what follows them."""

    sends: list[tuple[int, int, bool]] = field(default_factory=list)
    receives: list[tuple[int, int, bool]] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Moves:
    """The transfers of a schedule as columns of Python integers, in order."""

    src: list[int]
    dst: list[int]
    chunk: list[int]
    reduces: list[bool]
    channel: list[int]

    @classmethod
    def of(cls, topology: Topology, schedule: Schedule) -> Moves:
        transfers = schedule.transfers
        src, dst = transfer_ranks(topology, schedule)
        reduces = (transfers.op == REDUCE).tolist()
        return cls(src.tolist(), dst.tolist(), transfers.chunk.tolist(), reduces, transfers.channel.tolist())

    def rows(self) -> Iterable[tuple[int, int, int, bool, int]]:
        return zip(self.src, self.dst, self.chunk, self.reduces, self.channel, strict=True)


def number(moves: Moves, width: int) -> Ints:
    """The wave of each transfer, from 0: the first in which its data is there, and in which nobody at its target still
    reads what it overwrites, with at most `width` transfers of a lane in a wave."""
    written: defaultdict[tuple[int, int], int] = defaultdict(lambda: -1)  # of a rank's chunk, the last wave that did
    read: defaultdict[tuple[int, int], int] = defaultdict(lambda: -1)
    lanes: defaultdict[tuple[int, int, int], tuple[int, int]] = defaultdict(lambda: (0, 0))  # wave, transfers in it
    waves = np.empty(len(moves.src), np.int64)
    for t, (src, dst, chunk, reduces, channel) in enumerate(moves.rows()):
        here, there = (src, chunk), (dst, chunk)
        # A fold comes after the calls of its wave, a copy beside them.
        free = max(written[there], read[there]) + (0 if reduces else 1)
        wave = max(written[here] + 1, free, lanes[src, dst, channel][0], 0)
        last, count = lanes[src, dst, channel]
        if wave == last and count == width:
            wave, count = wave + 1, 0
        lanes[src, dst, channel] = wave, (count if wave == last else 0) + 1
        written[there] = wave
        read[here] = max(read[here], wave)
        waves[t] = wave
    return waves


def waves(moves: Moves, numbers: Ints, rank: int) -> list[Wave]:
    """One rank's waves; some may be empty."""
    found = [Wave() for _ in range(int(numbers.max(initial=-1)) + 1)]
    folds: list[dict[int, tuple[bool, list[int]]]] = [{} for _ in found]
    written: set[int] = set()
    for (src, dst, chunk, reduces, _), w in zip(moves.rows(), numbers.tolist(), strict=True):
        if src == rank:
            found[w].sends.append((dst, chunk, chunk not in written))
        elif dst == rank:
            if reduces:
                folds[w].setdefault(chunk, (chunk not in written, []))[1].append(len(found[w].receives))
            found[w].receives.append((src, chunk, reduces))
            written.add(chunk)
    for wave, of_wave in zip(found, folds, strict=True):
        wave.folds = [Fold(chunk, given, tuple(receives)) for chunk, (given, receives) in of_wave.items()]
    return found


def choose(moves: Moves, lengths: Sequence[int] | Ints, ranks: int, start: float, rate: float) -> Ints:
    """The numbers, among those of all WIDTHS, with the least sum over waves of `start` seconds and what the busiest
    rank takes at `rate` bytes a second in each direction. `lengths`: bytes of each chunk. Alike on all ranks."""
    best, least = np.zeros(0, np.int64), float("inf")
    size = np.asarray(lengths, np.int64)[moves.chunk]
    for width in WIDTHS:
        numbers = number(moves, width)
        count = int(numbers.max(initial=-1)) + 1
        busiest = np.zeros(count, np.int64)
        for end in (moves.src, moves.dst):
            load = np.bincount(numbers * ranks + np.array(end, np.int64), size, count * ranks)
            busiest = np.maximum(busiest, load.reshape(count, ranks).max(axis=1, initial=0).astype(np.int64))
        cost = count * start + int(busiest.sum()) / rate
        if cost < least:
            best, least = numbers, cost
    return best
