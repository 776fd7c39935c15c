"""Typed access to the mappings of a topology file, with one voice for its mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from collsched.errors import InputError
from collsched.topology.document import Mapping, Scalar, Sequence, Source, Value, describe
from collsched.topology.expression import Environment, Expression
from collsched.topology.expression import parse as parse_expression
from collsched.units import (
    BANDWIDTH_UNITS,
    LATENCY_UNITS,
    check_bandwidth,
    check_latency,
    exact,
    parse_bandwidth,
    parse_latency,
    suggest,
)

DEFAULT_LATENCY = Fraction(1)  # µs

_PLAIN_QUANTITY = re.compile(
    r"\s*[+-]?[.\d][\d.eE+-]*(/\d+)?\s*[A-Za-zµμ]*(/[A-Za-z]+)?\s*|\s*[+-]?\.?(nan|inf)\w*.*", re.ASCII | re.I
)


@dataclass(frozen=True, slots=True)
class Amount:
    """A bandwidth in GB/s or a latency in µs: a constant, or an expression times the factor of its unit."""

    text: str
    constant: Fraction | None
    expression: Expression | None
    factor: Fraction
    check: Callable[[Fraction, str], Fraction]

    def __call__(self, environment: Environment) -> Fraction:
        if self.constant is not None:
            return self.constant
        assert self.expression is not None
        amount = Fraction(self.expression.number(environment)) * self.factor
        shown = self.text if self.expression.text == exact(amount) else f"{self.text} = {exact(amount)}"
        return self.check(amount, shown)


@lru_cache(maxsize=4096)
def bandwidth(text: str) -> Amount:
    """Reads `25 GB/s`, `25`, or an expression such as `nic / 2` or `(up // 2) Gbit/s`. Raises InputError."""
    return _amount(text, parse_bandwidth, tuple(BANDWIDTH_UNITS.items()), check_bandwidth)


@lru_cache(maxsize=4096)
def latency(text: str) -> Amount:
    """Reads `1.5 us`, `1.5`, or an expression. Raises InputError."""
    return _amount(text, parse_latency, tuple(LATENCY_UNITS.items()), check_latency)


def _amount(
    text: str,
    parse: Callable[[str], Fraction],
    units: tuple[tuple[str, Fraction], ...],
    check: Callable[[Fraction, str], Fraction],
) -> Amount:
    if not text.strip() or _PLAIN_QUANTITY.fullmatch(text):
        return Amount(text, parse(text), None, Fraction(1), check)
    body, factor = text.strip(), Fraction(1)
    head, _, last = body.rpartition(" ")
    if head and last in dict(units):
        body, factor = head, dict(units)[last]
    return Amount(text, None, parse_expression(body), factor, check)


class Entry:
    """One mapping of the file: `what` it describes, and the keys that it may have."""

    __slots__ = ("items", "line", "lines", "source", "what")

    def __init__(self, source: Source, value: Value, what: str, keys: frozenset[str] | None = None) -> None:
        if type(value) is not Mapping:
            raise source.error(
                value.line, f"{what} is {describe(value)}; allowed is a mapping; write it as {{key: value, …}}"
            )
        self.source, self.items, self.lines = source, value.items, value.lines
        self.line, self.what = value.line, what
        if keys is not None:
            self.allow(keys)

    def allow(self, keys: frozenset[str]) -> None:
        """Raises TopologyError for a key that is not among `keys`."""
        if self.items.keys() <= keys:
            return
        key, line = next((key, line) for key, line in zip(self.items, self.lines, strict=True) if key not in keys)
        hint = suggest(key, tuple(sorted(keys))) or "remove it"
        raise self.source.error(
            line, f"unknown key {key!r} in {self.what}; allowed are {', '.join(sorted(keys))}; {hint}"
        )

    def error(self, message: object, key: str | None = None) -> InputError:
        """The message with the line of `key`, or of the entry."""
        line = self.items[key].line if key is not None and key in self.items else self.line
        return self.source.error(line, message)

    def scalar(self, key: str) -> Scalar | None:
        """The text under `key`, or None if absent."""
        value = self.items.get(key)
        if value is None or type(value) is Scalar:
            return value
        hint = ""
        if type(value) is Sequence:
            hint = "; text with [ in it needs quotes inside braces"
        raise self.error(
            f"{key!r} of {self.what} is {describe(value)}; allowed is plain text; write {key}: value{hint}", key
        )

    def text(self, key: str) -> str:
        """The text under `key`; an error if absent or empty."""
        value = self.scalar(key)
        if value is None:
            raise self.error(f"{self.what} has no {key!r}; allowed is exactly one; add {key}: …")
        if not value.text:
            raise self.error(f"{key!r} of {self.what} is empty; allowed is text; write {key}: value", key)
        return value.text

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        text = self.text(key)
        if text not in allowed:
            hint = suggest(text, allowed) or f"write for example {allowed[0]}"
            raise self.error(f"{key!r} of {self.what} is {text!r}; allowed are {', '.join(allowed)}; {hint}", key)
        return text

    def flag(self, key: str, environment: Environment) -> bool:
        """`true`, `false` or the name of a flag; false if absent."""
        if key not in self.items:
            return False
        value = environment.get(self.text(key))
        return value == 1 if value in (0, 1) else self.choice(key, ("true", "false")) == "true"

    def listing(self, key: str) -> list[Value]:
        """The list under `key`, empty if absent."""
        value = self.items.get(key)
        if value is None:
            return []
        if type(value) is not Sequence:
            raise self.error(
                f"{key!r} of {self.what} is {describe(value)}; allowed is a list; begin its lines with '- '", key
            )
        return value.items
