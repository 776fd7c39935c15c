"""Families: fabrics that follow from a few numbers, under the key `family` of a topology file.

A family is a frozen dataclass; its fields are its arguments, its docstring says what it builds. It connects
*ends*: the nodes that `attach` names, in that order, or ranks of its own (`rank0`, `rank1`, …), as many as
`ranks` says or as its shape needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from dataclasses import fields as dataclass_fields
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from collsched.errors import InputError
from collsched.topology import fields
from collsched.topology.builder import Builder
from collsched.topology.direct import Hypercube, RandomIrregular, Torus
from collsched.topology.expression import Environment, Expression, Quantity
from collsched.topology.expression import parse as parse_expression
from collsched.topology.fields import Entry
from collsched.topology.parameters import grid
from collsched.topology.pattern import Pattern, parse_pattern
from collsched.topology.switched import Dragonfly, FatTree, LeafSpine, Rail, RandomSwitched


class Family(Protocol):
    """What the reader needs of a family."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def size(self) -> int | None:
        """How many ends the shape has; None if any number will do."""

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        """Add its switches and links. Raises InputError where the numbers do not fit."""


FAMILIES: Mapping[str, Callable[..., Family]] = MappingProxyType(
    {
        "torus": Torus,
        "hypercube": Hypercube,
        "random-irregular": RandomIrregular,
        "leaf-spine": LeafSpine,
        "fat-tree": FatTree,
        "rail": Rail,
        "dragonfly": Dragonfly,
        "random-switched": RandomSwitched,
    }
)


_GENERIC = frozenset({"kind", "when", "attach", "ranks", "multicast", "reduce"})

# How an argument is read, by the annotation of its field.
_READERS: Mapping[str, Callable[[str, Environment], Quantity]] = MappingProxyType(
    {
        "int": lambda text, environment: parse_expression(text).integer(environment),
        "Ratio": lambda text, environment: Fraction(parse_expression(text).number(environment)),
        "Bandwidth": lambda text, environment: fields.bandwidth(text)(environment),
        "Latency": lambda text, environment: fields.latency(text)(environment),
        "Grid": lambda text, environment: _grid(text, environment),
    }
)


def _grid(text: str, environment: Environment) -> tuple[int, ...]:
    value = environment.get(text)
    return value if isinstance(value, tuple) else grid(text)


@dataclass(frozen=True, slots=True)
class Ends:
    """What a family connects: existing nodes, or a number of ranks."""

    attach: Pattern | None
    ranks: Expression | None

    def resolve(self, builder: Builder, environment: Environment, size: int | None, line: int) -> list[int]:
        """The ids of the ends; ranks are created here. Raises InputError."""
        if self.attach is not None:
            ends = [builder.find(name) for name, _ in self.attach.expand(environment)]
            if size is not None and len(ends) != size:
                raise InputError(
                    f"'attach' names {len(ends)} nodes; allowed are the {size} of this shape; adjust either"
                )
            return ends
        if size is not None and self.ranks is not None:
            raise InputError(f"'ranks' beside a shape of {size}; allowed is the shape alone; remove 'ranks'")
        count = size if self.ranks is None else self.ranks.integer(environment)
        if count is None:
            raise InputError(
                "family has neither 'attach' nor 'ranks'; allowed is one of them; add for example ranks: 64"
            )
        if count < 1:
            raise InputError(f"family has {count} ranks; allowed is at least 1; raise 'ranks'")
        return [builder.node(f"rank{i}", "rank", line=line) for i in range(count)]


def read_family(entry: Entry, family: Callable[..., Family], environment: Environment) -> tuple[Family, Ends]:
    """The family with its arguments read from the file, and its ends. Raises TopologyError."""
    declared = dataclass_fields(family)  # type: ignore[arg-type]
    known = frozenset(field.name for field in declared)
    entry.allow(known | _GENERIC)
    arguments: dict[str, object] = {}
    for field in declared:
        if field.name in entry.items:
            try:
                arguments[field.name] = _READERS[str(field.type)](entry.text(field.name), environment)
            except InputError as error:
                raise entry.error(error, field.name) from None
        elif field.default is MISSING:
            raise entry.error(f"family has no {field.name!r}; allowed is exactly one; add {field.name}: …")
    attach, ranks = entry.scalar("attach"), entry.scalar("ranks")
    if attach and ranks:
        raise entry.error("family has 'attach' and 'ranks'; allowed is one of them; remove the other", "ranks")
    try:
        ends = Ends(
            parse_pattern(attach.text) if attach else None,
            parse_expression(ranks.text) if ranks else None,
        )
        return family(**arguments), ends
    except InputError as error:
        raise entry.error(error) from None
