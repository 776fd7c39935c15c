"""Sizes for pairs of ranks, as all-to-alls of unequal shards need them, read from YAML or CSV files.

    YAML    gpu0: {gpu1: 3, gpu2: 1/3}        a mapping for each source, target → size

    CSV     ,gpu0,gpu1,gpu2                   a table: targets in the first row, a row for each source
            gpu0,0,3,1/3

    CSV     src,dst,size                      or a pair a row
            gpu0,gpu1,3

Pairs that are left out exchange nothing. Sizes are relative and read exactly.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from collsched.errors import InputError

Size = Fraction | int
PAIRS = ["src", "dst", "size"]  # the header of a CSV file with a pair a row


@dataclass(frozen=True, slots=True)
class SizeMatrix:
    """Source name → target name → relative size. `places` tells where a name first stands, `FILE:LINE`."""

    sizes: dict[str, dict[str, Size]]
    places: Mapping[str, str] = field(default_factory=dict)

    def place(self, name: str) -> str:
        """What an error about that name starts with."""
        return self.places.get(name, "matrix")


def read_matrix(path: str | Path) -> SizeMatrix:
    """The sizes in a file, CSV if its name ends in `.csv`, else YAML. Raises InputError with file and line."""
    path = Path(path)
    return _read_csv(path) if path.suffix.lower() == ".csv" else _read_yaml(path)


def parse_size(place: str, text: str) -> Size:
    """`3`, `12.5` or `1/3`, exactly. Raises InputError for anything else."""
    if len(text) <= 10 and text.isascii() and text.isdigit():
        return int(text)
    if not re.fullmatch(r"\d{1,10}(\.\d{1,9})?|\d{1,10}/0*[1-9]\d{0,9}", text, re.ASCII):
        raise InputError(f"{place}: size {text!r:.40}; a non-negative number such as 3, 12.5 or 1/3")
    return Fraction(text)


def compose_yaml(path: Path) -> Any:
    """The root node of a YAML file whose scalars are texts, or None. Raises InputError with file and line."""
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=loader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{place}: not YAML: {getattr(error, 'problem', None) or 'not UTF-8 text'}") from None


class _Builder:
    """Collects pairs, each at most once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sizes: dict[str, dict[str, Size]] = {}
        self._places: dict[str, str] = {}

    def row(self, source: str, line: int) -> dict[str, Size]:
        """Where the sizes of what `source` sends are kept."""
        self.name(source, line)
        return self._sizes.setdefault(source, {})

    def name(self, name: str, line: int) -> None:
        if name not in self._places:
            self._places[name] = f"{self._path}:{line}"

    def add(self, source: str, target: str, text: str, line: int) -> None:
        row, place = self.row(source, line), f"{self._path}:{line}"
        if target in row:
            raise InputError(f"{place}: {source!r} → {target!r} has a size already; remove one of the two")
        self.name(target, line)
        row[target] = parse_size(place, text)

    def done(self) -> SizeMatrix:
        return SizeMatrix(self._sizes, self._places)


def _read_yaml(path: Path) -> SizeMatrix:
    import yaml

    expected = "expected a mapping, source → target → size, such as `gpu0: {gpu1: 3}`"
    root = compose_yaml(path)
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}: {expected}")
    found = _Builder(path)
    seen: set[str] = set()
    for source, targets in root.value:
        line = source.start_mark.line + 1
        if not isinstance(source, yaml.ScalarNode) or not isinstance(targets, yaml.MappingNode):
            raise InputError(f"{path}:{line}: {expected}")
        if source.value in seen:
            raise InputError(f"{path}:{line}: {source.value!r} has a row already; join the two")
        seen.add(source.value)
        found.row(source.value, line)
        for target, size in targets.value:
            line = target.start_mark.line + 1
            if not isinstance(target, yaml.ScalarNode) or not isinstance(size, yaml.ScalarNode):
                raise InputError(f"{path}:{line}: {expected}")
            found.add(source.value, target.value, size.value, line)
    return found.done()


def _read_csv(path: Path) -> SizeMatrix:
    rows = _rows(path)
    try:
        _, header = next(rows)
    except StopIteration:
        raise InputError(f"{path}: empty; expected a row of target names, or the header src,dst,size") from None
    found = _Builder(path)
    if header == PAIRS:
        for line, row in rows:
            source, target, size = _cells(path, line, row, 3)
            found.add(source, target, size, line)
        return found.done()
    if header[0]:
        raise InputError(
            f"{path}:1: starts with {header[0]!r:.40}; expected an empty cell and the target names, or src,dst,size"
        )
    targets, seen = header[1:], set[str]()
    for name in targets:
        if name in seen:
            raise InputError(f"{path}:1: target {name!r:.40} has two columns; keep one")
        seen.add(name)
        found.name(name, 1)
    seen.clear()
    for line, row in rows:
        source, *sizes = _cells(path, line, row, len(header))
        if source in seen:
            raise InputError(f"{path}:{line}: {source!r:.40} has a row already; join the two")
        seen.add(source)
        place = f"{path}:{line}"
        found.row(source, line).update(
            (target, parse_size(f"{place}: column {target!r}", text))
            for target, text in zip(targets, sizes, strict=True)
        )
    return found.done()


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of every row that is not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not CSV: {error}") from None


def _cells(path: Path, line: int, row: list[str], count: int) -> list[str]:
    if len(row) != count:
        raise InputError(f"{path}:{line}: {len(row)} cells where {count} are needed, as in the first row")
    return row
