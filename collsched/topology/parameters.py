"""Parameters of a topology file: declared with a kind and limits, set by `--set name=value` or by keyword."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from collsched.errors import InputError, TopologyError
from collsched.topology.document import Source, Value
from collsched.topology.expression import Quantity
from collsched.topology.fields import Entry
from collsched.units import exact, parse_bandwidth, parse_latency, parse_number, suggest

KINDS = ("integer", "number", "bandwidth", "latency", "grid", "flag")
MAX_EXTENTS = 6

_KEYS = frozenset({"default", "kind", "min", "max", "about"})
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_RESERVED = frozenset(
    {"and", "or", "not", "if", "else", "min", "max", "ceil", "floor", "product", "lambda", "in", "is"}
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `minimum` and `maximum` bound the value, or every extent of a grid."""

    name: str
    kind: str
    default: Quantity
    minimum: Fraction | None
    maximum: Fraction | None
    about: str

    def read(self, text: str) -> Quantity:
        """The value that `text` stands for. Raises InputError."""
        value = _value(text, self.kind)
        for extent in value if isinstance(value, tuple) else (value,):
            low, high = self.minimum, self.maximum
            if (low is not None and extent < low) or (high is not None and extent > high):
                raise InputError(f"{text!r} is out of range; allowed is {self.limits()}; choose a value within")
        return value

    def limits(self) -> str:
        """The allowed values in words."""
        words = {"integer": "a whole number", "grid": "extents such as 4x4", "flag": "true or false"}.get(
            self.kind, f"a {self.kind}"
        )
        if self.minimum is not None:
            words += f" from {exact(self.minimum)}"
        if self.maximum is not None:
            words += f" up to {exact(self.maximum)}"
        return words

    def show(self, value: Quantity) -> str:
        """A value as the user would write it."""
        if isinstance(value, tuple):
            return "x".join(map(str, value))
        if self.kind == "flag":
            return "true" if value else "false"
        unit = {"bandwidth": " GB/s", "latency": " us"}.get(self.kind, "")
        return exact(value) + unit


def declare(source: Source, name: str, value: Value) -> Parameter:
    """Read one declaration, `boxes: {default: 2, min: 1, max: 64, about: …}`. Raises TopologyError."""
    entry = Entry(source, value, f"parameter {name!r}", _KEYS)
    check_identifier(source, name, value.line)
    kind = entry.choice("kind", KINDS) if "kind" in entry.items else "integer"
    bounds: dict[str, Fraction | None] = {"min": None, "max": None}
    for key in bounds:
        if (bound := entry.scalar(key)) is not None:
            try:
                bounds[key] = Fraction(_number(_value(bound.text, "integer" if kind == "grid" else kind)))
            except InputError as error:
                raise entry.error(error, key) from None
    about = entry.scalar("about")
    parameter = Parameter(name, kind, 0, bounds["min"], bounds["max"], about.text if about else "")
    try:
        default = parameter.read(entry.text("default"))
    except InputError as error:
        raise entry.error(error, "default") from None
    return Parameter(name, kind, default, parameter.minimum, parameter.maximum, parameter.about)


def check_identifier(source: Source, name: str, line: int) -> None:
    """Raises TopologyError unless `name` can stand in an expression."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise source.error(
            line,
            f"{name!r} cannot name a parameter; allowed are letters, digits and _, no word of arithmetic; rename it",
        )


def settle(parameters: Mapping[str, Parameter], given: Mapping[str, object], source: Source) -> dict[str, Quantity]:
    """Every parameter's value: as given (as text or as a Python number), else its default. Raises TopologyError."""
    values: dict[str, Quantity] = {name: parameter.default for name, parameter in parameters.items()}
    for name, value in given.items():
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            hint = suggest(name, tuple(parameters)) or "leave it out"
            raise TopologyError(f"{source.name}: unknown parameter {name!r}; allowed are {known}; {hint}")
        try:
            values[name] = parameters[name].read(_spell(value))
        except InputError as error:
            raise TopologyError(f"{source.name}: parameter {name}: {error}") from None
    return values


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "x".join(map(str, value))
    return str(value)


def _number(value: Quantity) -> int | Fraction:
    assert not isinstance(value, tuple)
    return value


def _value(text: str, kind: str) -> Quantity:
    match kind:
        case "integer":
            value = parse_number(text)
            if value.denominator != 1:
                raise InputError(f"{text!r} is not whole; allowed is a whole number; round it")
            return int(value)
        case "number":
            return parse_number(text)
        case "bandwidth":
            return parse_bandwidth(text)
        case "latency":
            return parse_latency(text)
        case "flag":
            if text not in ("true", "false"):
                raise InputError(f"{text!r} is not a flag; allowed are true and false; write one of them")
            return int(text == "true")
    return grid(text)


def grid(text: str) -> tuple[int, ...]:
    """The extents of a grid, `4x4x4`. Raises InputError."""
    extents = text.strip().split("x")
    if len(extents) > MAX_EXTENTS or not all(re.fullmatch(r"[0-9]{1,9}", extent) for extent in extents):
        raise InputError(
            f"{text!r} is not a grid; allowed are up to {MAX_EXTENTS} extents joined by x; write for example 4x4x4"
        )
    return tuple(int(extent) for extent in extents)
