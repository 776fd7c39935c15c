"""Where the time of a call goes: steps recorded by the ranks, as a timeline and as a matrix of delays.

    rank 0  ├──waits for 1, 2──┤▓▓works▓▓├─▶ 3          ready … begin … end

A rank delays others by what it takes for a step once everything that the step needs is there: from *due*, the later of
`ready` and the `end` of what its sources sent, to `end`. A transfer's delay is that of the step that sends it and that
of the step that receives it. So a rank that is slow at whatever it does fills its row and its column of the matrix, one
that only receives slowly its column, and a slow link a single cell; waiting for somebody else delays nobody's cell.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import EngineError
from collsched.files import write_whole

_STANDS_OUT = 3.0  # times the median


@dataclass(frozen=True, slots=True)
class Event:
    """One piece of a chunk in one step of a rank: from `sources` (none: its own data) to its buffer, on to `targets`.

    Times are nanoseconds on a clock that the ranks of a host share. `ready`: the rank's own conditions were met, it
    waits for nothing but the sources; `begin`: all sources had sent, the rank set to work; `end`: done, just before
    the targets can see it. `piece` numbers the pieces of a chunk in a call, alike on all ranks.
    """

    rank: int
    call: int
    chunk: int
    piece: int
    nbytes: int
    ready: int
    begin: int
    end: int
    sources: tuple[int, ...]
    targets: tuple[int, ...]


def to_bytes(events: Iterable[Event]) -> bytes:
    return json.dumps([asdict(event) for event in events]).encode()


def from_bytes(data: bytes) -> Iterator[Event]:
    for row in json.loads(data):
        yield Event(**(row | {side: tuple(row[side]) for side in ("sources", "targets")}))


@dataclass(frozen=True, slots=True)
class Transfer:
    """One piece on its way from `src` to `dst`: sent at the end of `sent`, taken in by `received`."""

    src: int
    dst: int
    sent: Event
    received: Event


@dataclass(frozen=True)
class Trace:
    """What the ranks did while they recorded. Use as a context (`with comm.trace() as trace:`), read it afterwards."""

    names: Sequence[str]
    events: list[Event] = field(default_factory=list)

    @cached_property
    def transfers(self) -> list[Transfer]:
        """Every piece that went from one rank to another, in the order of arrival."""
        # A piece may go from one rank to another twice, summed up and as the result: in the same order at both ends.
        sent: defaultdict[tuple[int, ...], deque[Event]] = defaultdict(deque)
        in_order = sorted(self.events, key=lambda event: event.end)
        for event in in_order:
            for target in event.targets:
                sent[event.call, event.chunk, event.piece, event.rank, target].append(event)
        found = []
        for event in in_order:
            for source in event.sources:
                origins = sent[event.call, event.chunk, event.piece, source, event.rank]
                if not origins:
                    raise EngineError(f"the trace lacks what rank {source} sent to rank {event.rank}; record all ranks")
                found.append(Transfer(source, event.rank, origins.popleft(), event))
        return sorted(found, key=lambda transfer: transfer.received.end)

    @cached_property
    def delays(self) -> NDArray[np.float64]:
        """delays[src, dst]: median seconds of a transfer's delay; NaN between ranks without one."""
        ends: dict[int, int] = {}
        for transfer in self.transfers:
            key = id(transfer.received)
            ends[key] = max(ends.get(key, transfer.received.ready), transfer.sent.end)
        taken = {id(event): max(0, event.end - ends.get(id(event), event.ready)) for event in self.events}
        cells: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for transfer in self.transfers:
            cells[transfer.src, transfer.dst].append(taken[id(transfer.sent)] + taken[id(transfer.received)])
        matrix = np.full((len(self.names), len(self.names)), np.nan)
        for cell, delays in cells.items():
            matrix[cell] = median(delays) / 1e9
        return matrix

    def slow(self) -> str:
        """What stands out of the matrix, in words: a rank, a receiver or a link, at thrice the median and more."""
        known = self.delays[~np.isnan(self.delays)]
        if len(known) == 0:
            return "no transfers"
        usual = median(known)
        rows, columns = ([_median(line) for line in table] for table in (self.delays, self.delays.T))
        worst_row, worst_column = int(np.argmax(rows)), int(np.argmax(columns))
        if rows[worst_row] >= _STANDS_OUT * usual:
            return f"rank {self._name(worst_row)} is slow: {_times(rows[worst_row], usual)}"
        if columns[worst_column] >= _STANDS_OUT * usual:
            return f"rank {self._name(worst_column)} receives slowly: {_times(columns[worst_column], usual)}"
        src, dst = np.unravel_index(int(np.nanargmax(self.delays)), self.delays.shape)
        if self.delays[src, dst] >= _STANDS_OUT * usual:
            link = f"{self._name(int(src))} → {self._name(int(dst))}"
            return f"the link {link} is slow: {_times(float(self.delays[src, dst]), usual)}"
        return "nothing stands out"

    def text(self) -> str:
        """The matrix of delays in microseconds, source by row, target by column, and what stands out of it."""
        width = max(9, *(len(name) + 1 for name in self.names))
        head = "µs from\\to".ljust(width + 2) + "".join(name.rjust(width) for name in self.names)
        lines = [head]
        for name, row in zip(self.names, self.delays, strict=True):
            cells = ("–" if np.isnan(cell) else f"{cell * 1e6:.1f}" for cell in row)
            lines.append(name.ljust(width + 2) + "".join(cell.rjust(width) for cell in cells))
        return "\n".join([*lines, self.slow()])

    def chrome(self) -> dict[str, Any]:
        """The timeline in Chrome's trace form, which Perfetto reads too: a process a rank, waits and work, and arrows
        from sender to receiver."""
        start = min((event.ready for event in self.events), default=0)
        rows: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": rank, "tid": 0, "args": {"name": f"rank {rank} {name}"}}
            for rank, name in enumerate(self.names)
        ]
        for event in self.events:
            rows += _bars(event, start)
        for number, transfer in enumerate(self.transfers):
            for phase, event, time in (("s", transfer.sent, transfer.sent.end), ("f", transfer.received, None)):
                at = event.begin if time is None else max(event.begin, time - 1)
                arrow = {"ph": phase, "id": number, "name": "transfer", "cat": "transfer", "pid": event.rank, "tid": 0}
                rows.append(arrow | {"ts": (at - start) / 1e3} | ({"bp": "e"} if phase == "f" else {}))
        return {"traceEvents": rows, "displayTimeUnit": "ns"}

    def save(self, path: str | Path) -> None:
        """Write the timeline as JSON, for chrome://tracing or ui.perfetto.dev. Raises InputError if it cannot be."""
        write_whole(Path(path), [json.dumps(self.chrome())])

    def _name(self, rank: int) -> str:
        return f"{rank} ({self.names[rank]})"


def _bars(event: Event, start: int) -> Iterator[dict[str, Any]]:
    """The wait, if there was one, and the work of a step."""
    common = {"ph": "X", "pid": event.rank, "tid": 0}
    peers = ", ".join(map(str, event.sources))
    if event.sources and event.begin > event.ready:
        yield common | {
            "name": f"wait for {peers}", "cat": "wait",
            "ts": (event.ready - start) / 1e3, "dur": (event.begin - event.ready) / 1e3,
        }  # fmt: skip
    yield common | {
        "name": f"chunk {event.chunk} from {peers}" if event.sources else f"chunk {event.chunk}", "cat": "work",
        "ts": (event.begin - start) / 1e3, "dur": (event.end - event.begin) / 1e3,
        "args": {"call": event.call, "piece": event.piece, "bytes": event.nbytes, "to": list(event.targets)},
    }  # fmt: skip


def _median(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else 0.0


def _times(delay: float, usual: float) -> str:
    return (
        f"{delay * 1e6:.1f} µs a transfer, {delay / usual:.1f} times the median" if usual else f"{delay * 1e6:.1f} µs"
    )
