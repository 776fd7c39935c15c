"""Which of many schedules is the fastest at which size: packed forests against every algorithm that applies.

At each size the entries compete in the order of what they cannot beat (`Contestant.least`), the winner of the size
before first. One that cannot beat the best time so far is not simulated. First all run as they are; then, while the
best time is not within `ENOUGH` of what is possible, packed trees and the `TRIES` most promising of the others by
timetables of several kinds, and with lanes of their own, with several numbers of segments unless the first is
`HOPELESS`. Of entries with very many transfers, which take minutes as they are, only the usual algorithms run so:
what those reach is never left out, so that no plan is slower than one of them.

Trials go side by side, a few at a time, each of which knows what those before its few found: so the outcome is the
same on any number of cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import isqrt
from threading import Event

from collsched.algorithms import candidates
from collsched.choice import Contestant, Timed
from collsched.collective import Collective
from collsched.forest.model import Forest
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.passes.shape import Pacing
from collsched.simulate import Model
from collsched.topology.model import Topology
from collsched.units import format_bytes

SIZES = tuple(1 << bits for bits in range(10, 31, 2))  # 1 KiB … 1 GiB, each four times the one before
MOST_EDGES = 1 << 22  # of the trees of an algorithm that is considered
ENOUGH = 1.015  # times the least that is possible: nothing better is looked for
TRIES = 4
ABREAST = 4  # trials at a time
HOPELESS = 1.15  # times the best so far: other numbers of segments do not make up for that
FULL_LINKS: tuple[tuple[Pacing, Pacing | None], ...] = (  # a pacing, and the one by which it is judged who is promising
    ("deadlines", None),
    ("order", "deadlines"),
    ("tight-deadlines", "deadlines"),
    ("loose-timetable", "timetable"),
    ("lanes", "none"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Forests that compete under a name; two are equal if they are the same. `collective` may cut the buffer of an
    allreduce into other shards."""

    name: str
    variant: str
    collective: Collective
    forests: tuple[Forest, ...]
    rival: bool = False  # one of the usual algorithms, that plans are compared with
    packed: bool = False  # trees of this compiler's


@dataclass(frozen=True, slots=True)
class Result:
    """An entry at a size: its best time, or if it was not simulated, seconds that it cannot beat."""

    entry: Entry
    nbytes: int
    timed: Timed | None
    least: float


@dataclass(frozen=True, slots=True)
class Heat:
    """All entries at one size, the fastest first."""

    nbytes: int
    results: tuple[Result, ...]

    @property
    def winner(self) -> tuple[Entry, Timed]:
        best = self.results[0]
        assert best.timed is not None
        return best.entry, best.timed


def known_algorithms(topology: Topology, collective: Collective) -> Iterator[Entry]:
    """Every algorithm of the catalogue that applies, of up to `MOST_EDGES` tree edges."""
    for candidate in candidates(topology, collective):
        if candidate.transfers > MOST_EDGES:
            continue
        built = candidate.build()
        if built is not None and built.transfers <= MOST_EDGES:
            yield Entry(built.name, built.variant, built.collective, built.forests, candidate.rival)


@dataclass
class Contest:
    """Entries that have been verified, ready to compete at one size after another, in ascending order.

    `proven(nbytes)`: seconds below which no schedule of the collective can be. `progress` is told of what goes on.
    """

    topology: Topology
    proven: Callable[[int], float]
    model: Model = field(default_factory=Model)
    progress: Callable[[str], None] = lambda _: None
    _field: list[tuple[Entry, Contestant]] = field(default_factory=list)
    _last: Entry | None = None
    _stop: Event = field(default_factory=Event)

    def enter(self, entry: Entry) -> None:
        """Raises VerificationError for an entry that is not correct."""
        schedule = lower(self.topology, entry.collective, entry.forests)
        verify(self.topology, schedule)
        self._field.append((entry, Contestant(self.topology, schedule, self.model, stop=self._stop)))

    def heat(self, nbytes: int) -> Heat:
        """The competition at one size."""
        self.progress(f"simulating {format_bytes(nbytes)}")
        order = sorted(self._field, key=lambda one: (one[0] is not self._last, one[1].least(nbytes)))
        self._stop.clear()
        with ThreadPoolExecutor(ABREAST - 1) as pool:
            trials = _Trials(order, nbytes, self.proven(nbytes), pool)
            try:
                trials.plain()
                trials.timed()
                trials.full_links()
            finally:
                self._stop.set()  # of an interrupted contest nothing goes on
        heat = Heat(nbytes, trials.results())
        self._last = heat.results[0].entry
        return heat


@dataclass
class _Trials:
    """What has been found at one size, as one trial follows another. Entries are known by their place in `order`."""

    order: Sequence[tuple[Entry, Contestant]]
    nbytes: int
    proven: float
    pool: ThreadPoolExecutor
    found: dict[int, Timed] = field(default_factory=dict)
    seconds: dict[tuple[Pacing | None, int], float] = field(default_factory=dict)  # by pacing; None: the best

    def plain(self) -> None:
        """Everyone who may win, as it is; the usual algorithms however long that takes."""
        for few in self._few(range(len(self.order))):
            enough = self._enough()
            self._run([n for n in few if self.order[n][0].rival or not (enough or self.order[n][1].large)], "none")

    def timed(self) -> None:
        """By a timetable."""
        for few in self._few(self._promising(every=True)):
            self._run(few, "timetable")

    def full_links(self) -> None:
        """What keeps full links full. Not where most of the time is latency."""
        for pacing, like in FULL_LINKS:
            if 2 * self.proven < self._best():
                return
            for few in self._few(self._promising(every=pacing == "deadlines", like=like)):
                self._run([n for n in few if pacing == "loose-timetable" or not self.order[n][1].large], pacing)

    def results(self) -> tuple[Result, ...]:
        """The fastest first, then those that were not simulated."""
        found = [
            Result(entry, self.nbytes, self.found.get(n), max(self.proven, who.least(self.nbytes)))
            for n, (entry, who) in enumerate(self.order)
        ]
        return tuple(sorted(found, key=lambda result: result.timed.seconds if result.timed else float("inf")))

    def _promising(self, *, every: bool, like: Pacing | None = None) -> list[int]:
        """The `TRIES` fastest of packed trees, or every one of them, and as many of the others; as long as the best is
        not good enough. How fast they are is judged by one pacing, or by all."""
        if self._enough():
            return []
        able = [n for n, (_, who) in enumerate(self.order) if who.least(self.nbytes) < self._best()]
        able.sort(key=lambda n: self.seconds.get((like, n), 0.0 if like is None else math.inf))
        packed = [n for n in able if self.order[n][0].packed and not self.order[n][1].large]
        return packed[: None if every else TRIES] + [n for n in able if n not in packed][:TRIES]

    def _few(self, numbers: Iterable[int]) -> Iterator[list[int]]:
        """Those that go side by side: up to `ABREAST`, or one that is large."""
        few: list[int] = []
        for number in numbers:
            large = self.order[number][1].large
            if few and (large or len(few) == ABREAST):
                yield few
                few = []
            few.append(number)
            if large:
                yield few
                few = []
        if few:
            yield few

    def _run(self, numbers: Sequence[int], pacing: Pacing) -> None:
        """A trial of each, side by side."""
        best = self._best()
        hopeless = math.inf if pacing == "none" else HOPELESS * best
        able = [n for n in numbers if self.order[n][1].least(self.nbytes) < best]
        trials = [partial(self.order[n][1].at, self.nbytes, pacing, hopeless) for n in able]
        others = [self.pool.submit(trial) for trial in trials[1:]]
        own = [trial() for trial in trials[:1]]  # in this thread, where it can be interrupted at any time
        for number, timed in zip(able, own + [other.result() for other in others], strict=True):
            self.seconds[pacing, number] = timed.seconds
            if number not in self.found or timed.seconds < self.found[number].seconds:
                self.found[number] = timed
                self.seconds[None, number] = timed.seconds

    def _best(self) -> float:
        return min((timed.seconds for timed in self.found.values()), default=float("inf"))

    def _enough(self) -> bool:
        least = min((who.least(self.nbytes) for _, who in self.order), default=0.0)
        return self._best() <= ENOUGH * max(self.proven, least)


def ranges(heats: Sequence[Heat]) -> list[tuple[int | None, Heat]]:
    """Up to how many bytes each heat's winner is to be used, None for the last: to the geometric mean of two sizes.
    Neighbours with the same winner in the same shape are one."""
    found: list[tuple[int | None, Heat]] = []
    for heat, larger in zip(heats, [*heats[1:], None], strict=True):
        upto = None if larger is None else isqrt(heat.nbytes * larger.nbytes)
        if found and _same(found[-1][1], heat):
            found[-1] = (upto, found[-1][1])
        else:
            found.append((upto, heat))
    return found


def _same(one: Heat, other: Heat) -> bool:
    (entry, timed), (entry_too, timed_too) = one.winner, other.winner
    return entry is entry_too and timed.shape == timed_too.shape
