"""Quantities, read exactly from text and printed for people.

Bandwidths are Fractions in GB/s (1e9 bytes a second), latencies Fractions in µs, sizes integers in bytes.
`12.5` is 25/2, never a float. A bandwidth unit with a small `b` (`Gb/s`, `Gbit/s`, `Gbps`) counts bits, one
with a capital `B` bytes.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType

from collsched.errors import InputError

_DECIMAL = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}


def _byte_units() -> dict[str, Fraction]:
    units = {f"{prefix}B": Fraction(10**power) for prefix, power in _DECIMAL.items()}
    units["KB"] = units["kB"]
    units.update({f"{prefix}B": Fraction(2**power) for prefix, power in _BINARY.items()})
    return units


def _rate_units() -> dict[str, Fraction]:
    giga = Fraction(1, 10**9)
    units = {f"{unit}/s": factor * giga for unit, factor in _byte_units().items()}
    for prefix, power in _DECIMAL.items():
        for spelling in ("bit/s", "b/s", "bps"):
            units[prefix + spelling] = Fraction(10**power, 8) * giga
    return units


SIZE_UNITS = MappingProxyType(_byte_units())
BANDWIDTH_UNITS = MappingProxyType(_rate_units())
LATENCY_UNITS = MappingProxyType(
    {
        "ns": Fraction(1, 1000),
        "us": Fraction(1),
        "µs": Fraction(1),  # U+00B5, the micro sign
        "μs": Fraction(1),  # U+03BC, the Greek letter
        "ms": Fraction(1000),
        "s": Fraction(10**6),
    }
)

# Beyond these, a value is a slip of the pen, and its integers would no longer fit the planners' 64 bits.
MAX_BANDWIDTH = Fraction(10**6)
MIN_BANDWIDTH = Fraction(1, 10**6)
MAX_LATENCY = Fraction(10**9)
MAX_SIZE = 2**50

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?(?:/\d+)?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([^\s\d].*?)?\s*", re.ASCII)
_NOT_FINITE = re.compile(r"\s*[+-]?\.?(nan|inf|infinity)\b.*", re.IGNORECASE)
_LONGEST = 64


def parse_number(text: str) -> Fraction:
    """A decimal or a ratio of integers, exactly: `12.5`, `1e-3`, `25/3`. Raises InputError."""
    value, unit = _split(text, "a number", "7, 12.5 or 25/3")
    if unit:
        raise InputError(
            f"{text!r} is not a number; allowed is a decimal or a ratio; write for example 7, 12.5 or 25/3"
        )
    return value


@lru_cache(maxsize=4096)
def parse_bandwidth(text: str) -> Fraction:
    """A bandwidth in GB/s, from `300`, `300 GB/s`, `2400 Gbit/s`. Raises InputError unless positive and finite."""
    value = _quantity(text, BANDWIDTH_UNITS, "a bandwidth", "300 GB/s", shown="GB/s, MB/s, GiB/s, Gbit/s, Gb/s")
    return check_bandwidth(value, text)


@lru_cache(maxsize=4096)
def parse_latency(text: str) -> Fraction:
    """A latency in µs, from `1.5`, `1.5 us`, `700 ns`, `2 ms`. Raises InputError if negative or not finite."""
    value = _quantity(text, LATENCY_UNITS, "a latency", "1.5 us", shown="ns, us, µs, ms, s")
    return check_latency(value, text)


@lru_cache(maxsize=256)
def parse_size(text: str) -> int:
    """A size in bytes, from `256MiB`, `1.5 GB`, `4096`. Raises InputError unless a whole number of bytes."""
    value = _quantity(text, SIZE_UNITS, "a size", "256MiB", shown="B, KB, MB, GB, KiB, MiB, GiB")
    if value < 0:
        raise InputError(f"size {text!r} is negative; allowed is zero or more; write for example 256MiB")
    if value > MAX_SIZE:
        raise InputError(
            f"size {text!r} is too large; allowed is at most {format_bytes(MAX_SIZE)}; write a smaller one"
        )
    if value.denominator != 1:
        raise InputError(f"size {text!r} is not a whole number of bytes; allowed are whole bytes; round it")
    return int(value)


def check_bandwidth(value: Fraction, text: str) -> Fraction:
    """`value` in GB/s, if a link can have it; `text` is what the user wrote. Raises InputError."""
    if value <= 0:
        raise InputError(
            f"bandwidth {text!r} is not positive; allowed is more than 0; leave the link out if it carries nothing"
        )
    if not MIN_BANDWIDTH <= value <= MAX_BANDWIDTH:
        raise InputError(
            f"bandwidth {text!r} is out of range; allowed is {exact(MIN_BANDWIDTH)} to {MAX_BANDWIDTH} GB/s; check it"
        )
    return value


def check_latency(value: Fraction, text: str) -> Fraction:
    """`value` in µs, if a link can have it; `text` is what the user wrote. Raises InputError."""
    if value < 0:
        raise InputError(f"latency {text!r} is negative; allowed is 0 or more; write for example 1.5 us")
    if value > MAX_LATENCY:
        raise InputError(f"latency {text!r} is out of range; allowed is at most {MAX_LATENCY} us; check its unit")
    return value


def exact(value: Fraction | int) -> str:
    """The shortest exact text of a number: `7`, `12.5`, and `25/3` where no finite decimal exists."""
    value = Fraction(value)
    rest, places = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        places = max(places, power)
    if rest != 1:
        return str(value)
    if places == 0:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def format_bandwidth(value: Fraction | float) -> str:
    """Four significant digits for people: `12.5 GB/s`, `3.6 TB/s`, `800 MB/s`."""
    return _scaled(float(value) * 1e9, (("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3), ("B/s", 1)))


def format_bytes(size: int) -> str:
    """A size for people: `256 MiB`, `1.5 GiB`, `1000 B`."""
    for prefix, power in reversed(_BINARY.items()):
        if size >= 2**power:
            return f"{size / 2**power:.4g} {prefix}B"
    return f"{size} B"


def format_seconds(seconds: float) -> str:
    """A duration for people: `12.3 µs`, `4.2 ms`, `3 s`."""
    return _scaled(seconds, (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)))


def suggest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """`did you mean 'x'?` for the known word nearest to `word`, else an empty text."""
    near = get_close_matches(word, known[:5000], 1, 0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def _scaled(value: float, units: tuple[tuple[str, float], ...]) -> str:
    for unit, factor in units:
        if abs(value) >= factor:
            return f"{value / factor:.4g} {unit}"
    unit, factor = units[-1]
    return f"{value / factor:.4g} {unit}"


def _quantity(text: str, units: MappingProxyType[str, Fraction], what: str, example: str, *, shown: str) -> Fraction:
    value, unit = _split(text, what, example)
    if not unit:
        return value
    factor = units.get(unit)
    if factor is None:
        hint = _similar_unit(unit, units) or f"write for example {example}"
        raise InputError(f"unknown unit {unit!r} in {text!r}; allowed are {shown} and the like; {hint}")
    return value * factor


def _similar_unit(unit: str, units: MappingProxyType[str, Fraction]) -> str:
    """A hint; where only the case is wrong it names both readings, since `b` is a bit and `B` a byte."""
    same = [known for known in units if known.lower() == unit.lower()]
    return f"did you mean {' or '.join(map(repr, same))}?" if same else suggest(unit, tuple(units))


def _split(text: str, what: str, example: str) -> tuple[Fraction, str]:
    """The number and the unit of a quantity; the unit may be empty."""
    if len(text) > _LONGEST:
        raise InputError(
            f"{text[:24] + '…'!r} is too long for {what}; allowed are {_LONGEST} characters; write {example}"
        )
    if _NOT_FINITE.fullmatch(text):
        raise InputError(f"{text!r} is not finite; allowed is a finite number; write for example {example}")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not {what}; allowed is a number and a unit; write for example {example}")
    number, unit = match.groups()
    if "/" in number:
        above, below = number.split("/")
        if not re.fullmatch(r"[+-]?\d+", above) or int(below) == 0:
            raise InputError(
                f"{number!r} is not a ratio; allowed are whole numbers, not divided by 0; write for example 25/3"
            )
        return Fraction(int(above), int(below)), unit or ""
    return Fraction(number), unit or ""
