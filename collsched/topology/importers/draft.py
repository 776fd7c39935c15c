"""What an importer finds in one file, and how it asks for what the file cannot tell.

An importer reads one format into a `Host` (one machine, its GPUs and NICs), a `Fabric` (switches, and where hosts
plug in) or, where a file holds ranks and all, a `Host` without NICs. Every rate is kept with the place it came from.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from collsched.errors import InputError, TopologyError
from collsched.units import exact, parse_bandwidth

MAX_HOSTS = 65_536
MAX_GPUS = 1024  # of one host

# Option → a value for the example command. The names are those of the command line without the dashes.
EXAMPLES: Mapping[str, str] = {
    "nvlinks": "12",
    "nvlink-shape": "switch",
    "nvlink-rate": "25",
    "pcie-rate": "32",
    "cpu-rate": "20",
    "classless": "nic",
    "gpus": "8",
    "nics-per-gpu": "1",
    "nic-rate": "50",
    "fabric": "switch",
    "link-rate": "50",
    "uplink-rate": "200",
    "unnamed": "leave-out",
    "hosts-are-ranks": "",
}


@dataclass(frozen=True, slots=True)
class Rate:
    """GB/s in each direction it is used for, and where that was said."""

    value: Fraction
    source: str


def slower(first: Rate | None, second: Rate | None) -> Rate | None:
    """What two links in a row carry; None is no limit."""
    if first is None or second is None:
        return first or second
    return first if first.value <= second.value else second


@dataclass(frozen=True, slots=True)
class Wire:
    """A link between two nodes of a draft, one direction or both."""

    a: str
    b: str
    rate: Rate
    both: bool = True
    latency: str | None = None


@dataclass(frozen=True, slots=True)
class Vertex:
    kind: Literal["rank", "switch"]
    about: str = ""
    host: str | None = None
    more: tuple[tuple[str, str], ...] = ()  # other keys of a node in the explicit form


@dataclass(frozen=True, slots=True)
class Port:
    """Where a host meets the fabric: a node, and the rate there if the file tells it."""

    node: str
    rate: Rate | None


@dataclass(slots=True)
class Host:
    """One machine. `nics` are its ports to a fabric, in the order of their numbers."""

    nodes: dict[str, Vertex] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    nics: list[Port] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Fabric:
    """Switches, links between them, and each host's ports; `shared` if all NICs of a host use its ports alike."""

    nodes: dict[str, Vertex] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    hosts: dict[str, list[Port]] = field(default_factory=dict)
    shared: bool = True
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Request:
    """What the user gave. Options that turn out to be missing are collected, so that one error names them all."""

    rates: Literal["nominal", "runtime"] = "nominal"
    given: Mapping[str, str] = field(default_factory=dict)
    networked: bool = False  # several hosts: NICs and the way to them matter
    missing: dict[str, str] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    command: str = ""  # what to repeat with more options, instead of the import of the files
    found: tuple[str, ...] = ()  # options in `given` that the user need not repeat

    def ask(self, option: str, why: str, example: str | None = None) -> str | None:
        """The value of an option, or None after noting that it is missing."""
        value = self.given.get(option)
        if value is None:
            self.missing.setdefault(option, why)
            self.examples.setdefault(option, EXAMPLES[option] if example is None else example)
        return value

    def rate(self, option: str, why: str) -> Rate:
        """A bandwidth from an option; a placeholder where it is missing, for `finish` raises in the end."""
        value = self.ask(option, why)
        if value is None:
            return Rate(Fraction(1), "missing")
        try:
            return Rate(parse_bandwidth(value), f"--{option} {value}")
        except InputError as error:
            raise InputError(f"--{option}: {error}") from None

    def count(self, option: str, why: str, most: int) -> int | None:
        """A whole number from an option, 1 to `most`."""
        value = self.ask(option, why)
        return None if value is None else whole(value, f"--{option}", 1, most)

    def finish(self, files: tuple[str, ...]) -> None:
        """Raises InputError naming every missing option, with an example command."""
        if not self.missing:
            return
        reasons = "; ".join(f"--{option}: {why}" for option, why in self.missing.items())
        words = " ".join(f"--{option} {self.examples[option]}".rstrip() for option in self.missing)
        quoted = " ".join(map(shlex.quote, files))
        known = " ".join(
            f"--{name} {shlex.quote(value) if value else ''}".rstrip()
            for name, value in self.given.items()
            if name not in self.found
        )
        start = self.command or f"collsched topology import {quoted}"
        command = " ".join(part for part in (start, known, words) if part)
        raise InputError(
            f"{', '.join(files)}: does not hold everything that a topology needs. Missing: {reasons}. "
            f"With values of your machine, write for example:  {command}"
        )


def whole(text: str, what: str, low: int, high: int) -> int:
    """A whole number in a range. Raises TopologyError."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        shown = text if len(text) <= 24 else text[:24] + "…"
        raise TopologyError(f"{what} is {shown!r}; allowed are whole numbers from {low} to {high}; correct it")
    return int(text)


def per_link(count: int, link: Rate, what: str) -> Rate:
    """The rate of parallel links; `what` says where their number is from."""
    return Rate(link.value * count, f"{count} × {exact(link.value)} GB/s: {what}, {link.source}")
