"""Raw samples as CSV: a line for every call of every rank, so that others can do their own statistics."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from collsched.bench.results import Measurement
from collsched.bench.sweep import Case
from collsched.errors import InputError

HEADER = (
    "role", "engine", "setting", "bytes", "count", "dtype", "op", "in_place", "wrong", "iteration", "rank", "seconds",
)  # fmt: skip
_WORDS = {"true": True, "false": False}


def to_csv(measurements: Sequence[Measurement]) -> str:
    """`seconds` round-trip exactly; `wrong` is empty where nothing was checked."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(HEADER)
    for one in measurements:
        case = one.case
        wrong = "" if one.wrong is None else one.wrong
        of_all = (one.role, one.engine, one.setting, case.bytes, case.count, case.dtype, case.op,
                  str(case.in_place).lower(), wrong)  # fmt: skip
        for (iteration, rank), seconds in np.ndenumerate(one.samples):
            lines.writerow((*of_all, iteration, rank, repr(float(seconds))))
    return text.getvalue()


def from_csv(text: str) -> list[Measurement]:
    """The inverse. Raises InputError for a text that `to_csv` does not write."""
    rows = csv.reader(io.StringIO(text))
    if tuple(next(rows, ())) != HEADER:
        raise InputError(f"the first line is not {','.join(HEADER)}; give a file of `collsched bench --csv`")
    found: dict[tuple[str, ...], dict[tuple[int, int], float]] = {}
    for number, row in enumerate(rows, 2):
        try:
            *of_all, iteration, rank, seconds = row
            if len(row) != len(HEADER) or of_all[7] not in _WORDS:
                raise ValueError
            found.setdefault(tuple(of_all), {})[int(iteration), int(rank)] = float(seconds)
        except ValueError:
            raise InputError(f"line {number}: {','.join(row)[:200]!r} is not a sample; see the first line") from None
    return [_measurement(of_all, samples) for of_all, samples in found.items()]


def _measurement(of_all: tuple[str, ...], samples: dict[tuple[int, int], float]) -> Measurement:
    role, engine, setting, _, count, dtype, op, in_place, wrong = of_all
    shape = tuple(1 + max(position[axis] for position in samples) for axis in (0, 1))
    table = np.full(shape, np.nan)
    for position, seconds in samples.items():
        table[position] = seconds
    if np.isnan(table).any():
        raise InputError(f"{engine} {setting}, {count} elements: samples of some rank are missing; give a whole file")
    case = Case(int(count), dtype, op, _WORDS[in_place])
    return Measurement(role, engine, setting, case, table, int(wrong) if wrong else None)
