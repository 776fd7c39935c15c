"""A machine of threads that share the memory of ranks, executed symbolically; finds deadlocks, races, wrong results.

A *thread* is a sequence of *events*; an event starts once the one before it in its thread and all that it acquires are
complete. Its operations run side by side, in any order. Each reads spans of memory, takes what other events have sent,
and writes the sum of it all (or the one value) to a span, or gives it to an event that takes it.

"x before y" means: along threads and acquisitions, whatever the timing. Two accesses of one unit, at least one a write,
must be ordered by it. Then all executions read the same values, and one execution tells them (as for programs without
data races in a memory model). Vector clocks (Mattern 1989) decide "before": clock[t] counts the events of thread t that
are complete before what the clock belongs to.

A rank may reach into another's memory, but only after one of the other's threads has started and before one of them has
ended: a call owns its buffers no longer than that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collsched.errors import VerificationError
from collsched.export.check.contract import REDUCING, Call

Point = tuple[int, int]  # thread, event


class Span(NamedTuple):
    rank: int
    buffer: str
    offset: int
    units: int

    def __str__(self) -> str:
        return f"{self.buffer}[{self.offset}, {self.offset + self.units}) of rank {self.rank}"


@dataclass(slots=True)
class Op:
    """`where` names it in messages."""

    where: str
    reads: Sequence[Span] = ()
    takes: Sequence[Point] = ()
    write: Span | None = None


@dataclass(slots=True)
class Event:
    ops: list[Op] = field(default_factory=list)
    acquires: list[Point] = field(default_factory=list)


@dataclass(slots=True)
class Thread:
    """A proxy works for a rank, but the rank's call may return before it is done."""

    rank: int
    name: str
    events: list[Event]
    proxy: bool = False


def refuse(rule: str, witness: str) -> None:
    raise VerificationError(f"the file breaks the rule “{rule}”: {witness}")


def execute(call: Call, threads: Sequence[Thread], scratch: Sequence[int]) -> Counter[tuple[int, int]]:
    """Run all threads; `scratch` holds the units of every rank's scratch. Returns the units moved from rank to rank.

    Raises VerificationError for a deadlock, a race, a read of nothing, a contribution that counts twice, an access out
    of bounds or out of time, an input that is written out of place, or a result that is not what the call owes.
    """
    machine = _Machine(call, threads, scratch)
    machine.run()
    machine.check_ends()
    machine.check_results()
    return machine.moved


class _Memory:
    """One buffer. Unit u holds number ids[u] (−1: nothing) with the contributors masks[u]; its last write was event
    write[u] = (thread, event), and reads[u] are the reads since."""

    def __init__(self, size: int, words: int, nobody: int) -> None:
        self.ids = np.full(size, -1, np.int64)
        self.masks = np.zeros((size, words), np.uint64)
        self.writer = np.full(size, nobody, np.int64)
        self.written = np.full(size, -1, np.int64)
        self.reads: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # thread, event, operation


Value = tuple[NDArray[np.int64], NDArray[np.uint64]]


class _Machine:
    def __init__(self, call: Call, threads: Sequence[Thread], scratch: Sequence[int]) -> None:
        self.call, self.threads, self.sums = call, threads, call.kind in REDUCING
        self.moved: Counter[tuple[int, int]] = Counter()
        self.words = -(-call.ranks // 64) if self.sums else 1
        self.memory = {
            (rank, name): _Memory(size, self.words, len(threads))
            for rank in range(call.ranks)
            for name, size in zip("ios", (*call.sizes(), scratch[rank]), strict=True)
        }
        for rank in range(call.ranks):
            buffer, offset, ids = call.given(rank)
            place = slice(offset, offset + len(ids))
            self.memory[rank, buffer].ids[place] = ids
            self.memory[rank, buffer].masks[place] = self._mask([rank] if self.sums else [0])
        longest = max((len(thread.events) for thread in threads), default=0)
        self.clock = np.zeros((len(threads), len(threads) + 1), np.int16 if longest < 1 << 15 else np.int32)
        self.clock[:, -1] = 1  # nobody's event −1, the initial content, precedes everything
        self.next = [0] * len(threads)
        self.given: dict[Point, Value] = {}
        self.wanted: Counter[Point] = Counter()
        self.complete: dict[Point, NDArray[np.signedinteger]] = {}
        self.remote: dict[int, set[Point]] = defaultdict(
            set
        )  # rank → events outside of its threads that reached into it
        ranks = np.array([-1 if thread.proxy else thread.rank for thread in threads], np.int64)
        self.threads_of = [np.flatnonzero(ranks == rank) for rank in range(call.ranks)]
        for thread in threads:
            for event in thread.events:
                self.wanted.update(event.acquires)

    def _mask(self, ranks: Sequence[int]) -> NDArray[np.uint64]:
        mask = np.zeros(self.words, np.uint64)
        for rank in ranks:
            mask[rank // 64] |= np.uint64(1) << np.uint64(rank % 64)
        return mask

    def run(self) -> None:
        """Run whatever thread can run until none can."""
        blocked: dict[Point, list[int]] = defaultdict(list)
        ready = list(range(len(self.threads)))[::-1]
        while ready:
            thread = ready.pop()
            events = self.threads[thread].events
            while self.next[thread] < len(events):
                event = events[self.next[thread]]
                missing = next((at for at in event.acquires if self.next[at[0]] <= at[1]), None)
                if missing is not None:
                    blocked[missing].append(thread)
                    break
                done = thread, self.next[thread]
                self._perform(done, event)
                ready.extend(blocked.pop(done, ()))
        for passed, stopped in zip(self.next, self.threads, strict=True):
            if passed < len(stopped.events):
                missing = next(at for at in stopped.events[passed].acquires if self.next[at[0]] <= at[1])
                where = f"{stopped.name} stops before its event {passed}, waiting for {self._name(missing)}"
                refuse("deadlock", f"{where}; something waits for itself or for what never comes")

    def _name(self, at: Point) -> str:
        thread = self.threads[at[0]]
        ops = thread.events[at[1]].ops if at[1] < len(thread.events) else []
        return ops[0].where if ops else f"{thread.name}, event {at[1]}"

    def _perform(self, at: Point, event: Event) -> None:
        clock = self.clock[at[0]]
        for source in event.acquires:
            np.maximum(clock, self.complete[source], out=clock)
        results = [self._value((*at, number), op) for number, op in enumerate(event.ops)]
        for number, (op, value) in enumerate(zip(event.ops, results, strict=True)):
            if op.write is not None:
                self._store((*at, number), op, op.write, value)
            self.given[at] = value
        for source in event.acquires:
            self.wanted[source] -= 1
            if not self.wanted[source]:
                del self.complete[source]
                self.given.pop(source, None)
        clock[at[0]] = at[1] + 1
        self.next[at[0]] = at[1] + 1
        if self.wanted[at]:
            self.complete[at] = clock.copy()
        else:
            self.given.pop(at, None)

    def _at(self, op: Op, span: Span) -> tuple[_Memory, int]:
        buffer, first = self.call.canonical(span.rank, span.buffer, span.offset)
        memory = self.memory[span.rank, buffer]
        if span.offset < 0 or span.units < 1 or first + span.units > len(memory.ids):
            refuse("bounds", f"{op.where} touches {span}; the buffer has {len(memory.ids)} units")
        return memory, first

    def _reach(self, at: Point, op: Op, span: Span) -> None:
        """An access from outside of a rank: its call has begun. That it has not returned is checked later."""
        thread = self.threads[at[0]]
        if span.rank == thread.rank and not thread.proxy:
            return
        if not self.clock[at[0]][self.threads_of[span.rank]].any():
            refuse("started", f"{op.where} reaches into rank {span.rank}, whose call may not have begun")
        self.remote[span.rank].add(at)

    def _value(self, at: tuple[int, int, int], op: Op) -> Value:
        values = [self._load(at, op, span) for span in op.reads]
        for source in op.takes:
            values.append(self.given[source])
            self.moved[self.threads[source[0]].rank, self.threads[at[0]].rank] += len(values[-1][0])
        if not values:
            return np.zeros(0, np.int64), np.zeros((0, self.words), np.uint64)
        ids, masks = values[0]
        if len(values) > 1 and not self.sums:
            refuse("operation", f"{op.where} adds in a {self.call.kind}")
        for more_ids, more_masks in values[1:]:
            if not np.array_equal(ids, more_ids):
                refuse("data", f"{op.where} adds units that do not belong together, or different numbers of them")
            if (masks & more_masks).any():
                refuse("once", f"{op.where} adds a contribution that is in the sum already")
            masks = masks | more_masks
        return ids, masks

    def _load(self, at: tuple[int, int, int], op: Op, span: Span) -> Value:
        memory, first = self._at(op, span)
        self._reach(at[:2], op, span)
        place = slice(first, first + span.units)
        self._check_order(at[:2], op, span, memory, place)
        for unit in range(place.start, place.stop):
            memory.reads[unit].append(at)
        ids = memory.ids[place].copy()
        if (ids < 0).any():
            refuse("data", f"{op.where} reads {span}, where nothing has been written")
        if span.rank != self.threads[at[0]].rank:
            self.moved[span.rank, self.threads[at[0]].rank] += span.units
        return ids, memory.masks[place].copy()

    def _check_order(self, at: Point, op: Op, span: Span, memory: _Memory, place: slice) -> None:
        """The last write of every unit is before this access."""
        clock = self.clock[at[0]]
        early = clock[memory.writer[place]] <= memory.written[place]
        if early.any():
            unit = int(np.flatnonzero(early)[0]) + place.start
            writer = self._name((int(memory.writer[unit]), int(memory.written[unit])))
            refuse("race", f"{op.where} accesses {span} and may do so before {writer} has written it")

    def _store(self, at: tuple[int, int, int], op: Op, span: Span, value: Value) -> None:
        memory, first = self._at(op, span)
        rank = self.threads[at[0]].rank
        self._reach(at[:2], op, span)
        if not self.call.in_place and span.buffer == "i":
            refuse("input", f"{op.where} writes {span}; out of place the input stays as it was")
        if len(value[0]) != span.units:
            refuse("count", f"{op.where} writes {span}, and {len(value[0])} units arrive")
        place = slice(first, first + span.units)
        self._check_order(at[:2], op, span, memory, place)
        clock = self.clock[at[0]]
        for unit in range(place.start, place.stop):
            for reader in memory.reads.pop(unit, ()):
                if clock[reader[0]] <= reader[1] and (reader != at or span not in op.reads):
                    where = self._name(reader[:2])
                    refuse("race", f"{op.where} writes {span} and may do so before {where} has read it")
        memory.ids[place], memory.masks[place] = value
        memory.writer[place], memory.written[place] = at[:2]
        if span.rank != rank:
            self.moved[rank, span.rank] += span.units

    def check_ends(self) -> None:
        """Whoever reached into a rank was done before some thread of that rank ended."""
        for rank, reaches in self.remote.items():
            last = self.clock[self.threads_of[rank]].max(axis=0)
            for at in reaches:
                if last[at[0]] <= at[1]:
                    refuse("ended", f"{self._name(at)} reaches into rank {rank}, whose call may have returned by then")

    def check_results(self) -> None:
        full = self._mask(range(self.call.ranks) if self.sums else [0])
        for rank in range(self.call.ranks):
            buffer, offset, ids = self.call.owed(rank)
            memory, place = self.memory[rank, buffer], slice(offset, offset + len(ids))
            wrong = (memory.ids[place] != ids) | (memory.masks[place] != full).any(axis=1)
            if wrong.any():
                unit = int(np.flatnonzero(wrong)[0])
                found = int(memory.ids[offset + unit])
                text = (
                    "nothing"
                    if found < 0
                    else f"unit {found}, of some ranks"
                    if found == ids[unit]
                    else f"unit {found}"
                )
                owes = f"unit {int(ids[unit])}" + (" summed over all ranks" if self.sums else "")
                refuse("promise", f"rank {rank} ends with {text} in {buffer}[{offset + unit}]; the call owes {owes}")
