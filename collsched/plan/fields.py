"""Typed access to the JSON header of a plan file, with the place of whatever is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from collsched.errors import PlanError

_WORDS = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}
_MAX_DIGITS = 80  # of a fraction's text


@dataclass(frozen=True, slots=True)
class Field:
    """A JSON value and where it stands: `file: … - at $.a[0].b`."""

    file: Path
    where: str
    value: Any

    def fail(self, text: str) -> NoReturn:
        raise PlanError(f"{self.file}: {text} - at {self.where}; the file was edited or made by another program")

    def _typed(self, kind: type) -> Any:
        if type(self.value) is not kind:
            self.fail(f"expected {_WORDS[kind]}, got {self.value!r:.60}")
        return self.value

    def keys(self, *names: str) -> tuple[Field, ...]:
        """The values of an object that has exactly these keys."""
        found = self._typed(dict)
        for name in names:
            if name not in found:
                self.fail(f"missing key {name!r}")
        for name in found:
            if name not in names:
                self.fail(f"unknown key {name!r:.60}")
        return tuple(Field(self.file, f"{self.where}.{name}", found[name]) for name in names)

    def items(self, length: int | None = None) -> tuple[Field, ...]:
        found = self._typed(list)
        if length is not None and len(found) != length:
            self.fail(f"expected {length} entries, got {len(found)}")
        return tuple(Field(self.file, f"{self.where}[{i}]", value) for i, value in enumerate(found))

    def object(self) -> dict[str, Any]:
        found: dict[str, Any] = self._typed(dict)
        return found

    def text(self) -> str:
        found: str = self._typed(str)
        return found

    def flag(self) -> bool:
        found: bool = self._typed(bool)
        return found

    def optional_text(self) -> str | None:
        return None if self.value is None else self.text()

    def choice(self, *allowed: str) -> str:
        if self.text() not in allowed:
            self.fail(f"expected {' or '.join(allowed)}, got {self.value!r:.60}")
        return self.text()

    def number(self, low: int, high: int) -> int:
        found: int = self._typed(int)
        if not low <= found <= high:
            self.fail(f"expected a number in {low} … {high}, got {found}")
        return found

    def fraction(self, *, positive: bool) -> Fraction:
        text = self.text()
        try:
            value = Fraction(text) if len(text) <= _MAX_DIGITS and set(text) <= set("0123456789/") else Fraction(-1)
        except (ValueError, ZeroDivisionError):
            value = Fraction(-1)
        if value < 0 or (positive and value == 0):
            self.fail(f"expected a {'positive ' if positive else ''}fraction such as 25/2, got {text!r:.60}")
        return value


@dataclass(frozen=True, slots=True)
class Sections:
    """The arrays of a plan file by name; every one must be taken once."""

    file: Path
    arrays: dict[str, NDArray[np.int64]]

    def take(self, name: str, limit: int, what: str) -> NDArray[np.int64]:
        """The array of that name, all entries below `limit`."""
        if name not in self.arrays:
            raise PlanError(f"{self.file}: section {name!r} is missing; compile the plan again")
        array = self.arrays.pop(name)
        if len(array) and int(array.max()) >= limit:
            worst = int(array.argmax())
            raise PlanError(
                f"{self.file}: expected {what} below {limit}, got {array[worst]} - at {name}[{worst}]; "
                "the file was edited or made by another program"
            )
        return array

    def take_sizes(self, name: str, total: int, what: str) -> NDArray[np.int64]:
        """Sizes of consecutive parts of `total` entries, as positions: 0, …, total."""
        sizes = self.take(name, total + 1, f"{what} sizes")
        found = sizes.sum(dtype=np.float64)  # exact where it matters: sums above 2^53 cannot equal the total
        if found != total:
            raise PlanError(
                f"{self.file}: {what} sizes sum to {found:.0f} where {total} entries exist - at {name}; "
                "the file was edited or made by another program"
            )
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def finish(self) -> None:
        for name in self.arrays:
            raise PlanError(
                f"{self.file}: unknown section {name!r:.60}; the file was edited or made by another program"
            )
