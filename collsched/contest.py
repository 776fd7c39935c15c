"""Which of many schedules is the fastest at which size: packed forests against every algorithm that applies.

At each size the entries compete in the order of what they cannot beat (`Contestant.least`), the winner of the size
before first. One that cannot beat the best time so far is not simulated. First all run as they are; then, while the
best time is not within `ENOUGH` of what is possible, packed trees and the `TRIES` most promising of the others by a
timetable, and with lanes of their own. Of entries with very many transfers, which take minutes as they are, only the
usual algorithms run so: what those reach is never left out, so that no plan is slower than one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isqrt

from collsched.algorithms import candidates
from collsched.choice import MAX_TRANSFERS, Contestant, Timed
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
ENOUGH = 1.01  # times the least that is possible: nothing better is looked for
TRIES = 4


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

    def enter(self, entry: Entry) -> None:
        """Raises VerificationError for an entry that is not correct."""
        schedule = lower(self.topology, entry.collective, entry.forests)
        verify(self.topology, schedule)
        self._field.append((entry, Contestant(self.topology, schedule, self.model)))

    def heat(self, nbytes: int) -> Heat:
        """The competition at one size."""
        self.progress(f"simulating {format_bytes(nbytes)}")
        order = sorted(self._field, key=lambda one: (one[0] is not self._last, one[1].least(nbytes)))
        proven = self.proven(nbytes)
        floor = max(proven, min((who.least(nbytes) for _, who in order), default=0.0))
        found: dict[int, Timed] = {}

        def best() -> float:
            return min((timed.seconds for timed in found.values()), default=float("inf"))

        def trial(number: int, pacing: Pacing) -> None:
            timed = order[number][1].at(nbytes, pacing)
            if number not in found or timed.seconds < found[number].seconds:
                found[number] = timed

        large = [len(who.schedule.transfers.chunk) > MAX_TRANSFERS for _, who in order]
        for number, (entry, who) in enumerate(order):
            wanted = entry.rival or (best() > ENOUGH * floor and not large[number])
            if wanted and who.least(nbytes) < best():
                trial(number, "none")
        for pacing in ("timetable", "lanes"):
            # Lanes are about shares of full links: not where most of the time is latency.
            if pacing == "lanes" and 2 * proven < best():
                break
            able = [n for n, (_, who) in enumerate(order) if who.least(nbytes) < best()]
            able.sort(key=lambda n: found[n].seconds if n in found else 0.0)
            tried = [n for n in able if order[n][0].packed and not large[n]]
            tried += [n for n in able if n not in tried][:TRIES]
            for number in tried:
                if best() > ENOUGH * floor and not (pacing == "lanes" and large[number]):
                    trial(number, pacing)
        results = [
            Result(entry, nbytes, found.get(n), max(proven, who.least(nbytes))) for n, (entry, who) in enumerate(order)
        ]
        results.sort(key=lambda result: result.timed.seconds if result.timed else float("inf"))
        self._last = results[0].entry
        return Heat(nbytes, tuple(results))


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
