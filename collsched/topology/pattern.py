"""Names with indices in brackets, such as `box[b=0..boxes-1]/gpu[0..7]`.

A bracket holds items separated by commas, each an expression (one value) or `low..high` (both ends included;
nothing if high is low - 1). `b=` before the items names the index, for brackets to its right, for the other
end of a link and for its bandwidth:

    gpu[0..7]                  to nvswitch            every GPU to the switch
    gpu[i=0..7]                to gpu[(i+1) % 8]      a ring
    gpu[i=0..7]                to gpu[i+1..7]         all pairs
    box[0..3]/gpu[g=0..7]      to ib[g % 2]           by parity

`[[` and `]]` stand for the brackets themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from collsched.errors import InputError
from collsched.topology.expression import Environment, Expression
from collsched.topology.expression import parse as parse_expression

MAX_NAMES = 250_000

_TOKEN = re.compile(r"\[\[|\]\]|\[([^\[\]]*)\]|[^\[\]]+|.", re.DOTALL)
_INDEX = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Group:
    """One bracket: its index's name, and its items as (low, high); high is None for a single value."""

    index: str | None
    items: tuple[tuple[Expression, Expression | None], ...]

    def values(self, environment: Environment) -> Iterator[int]:
        for low, high in self.items:
            first = low.integer(environment)
            last = first if high is None else high.integer(environment)
            if first < 0 and first <= last:
                raise InputError(
                    f"index {first} of [{low.text}] is negative; allowed is 0 or more; write a range as [0..7]"
                )
            if last < first - 1:
                raise InputError(
                    f"range {first}..{last} of [{low.text}..] runs backwards; allowed is upwards; swap its ends"
                )
            if last - first >= MAX_NAMES:
                raise InputError(
                    f"a range has {last - first + 1} values; allowed are {MAX_NAMES}; check the parameters"
                )
            yield from range(first, last + 1)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name with brackets; stands for the names that its indices span, the leftmost index slowest."""

    text: str
    parts: tuple[str | Group, ...]

    def expand(self, environment: Environment) -> list[tuple[str, Environment]]:
        """Each name with the environment that its indices extend. Raises InputError."""
        found: list[tuple[str, Environment]] = [("", environment)]
        for part in self.parts:
            if isinstance(part, str):
                found = [(name + part, env) for name, env in found]
                continue
            index = part.index
            longer = (
                (f"{name}{value}", env if index is None else {**env, index: value})
                for name, env in found
                for value in part.values(env)
            )
            found = list(islice(longer, MAX_NAMES + 1))
            if len(found) > MAX_NAMES:
                raise InputError(
                    f"{self.text!r} stands for over {MAX_NAMES} names; allowed are fewer; check the parameters"
                )
        return found


@lru_cache(maxsize=65536)
def parse_pattern(text: str) -> Pattern:
    """Read a name with brackets. Raises InputError."""
    if "[" not in text and "]" not in text:
        return Pattern(text, (text,))
    parts: list[str | Group] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in ("[[", "]]"):
            parts.append(token[0])
        elif match.group(1) is not None:
            parts.append(_group(match.group(1), text))
        elif token in ("[", "]"):
            raise InputError(
                f"bracket {token!r} of {text!r} has no partner; allowed are pairs; write {token * 2!r} for itself"
            )
        else:
            parts.append(token)
    return Pattern(text, tuple(parts))


def escape(name: str) -> str:
    """The pattern that stands for `name` alone."""
    return name.replace("[", "[[").replace("]", "]]")


def _group(text: str, whole: str) -> Group:
    index, body = None, text
    if match := _INDEX.fullmatch(text):
        index, body = match.groups()
    return Group(index, tuple(_item(item, whole) for item in _items(body)))


def _items(text: str) -> list[str]:
    """Split at the commas outside parentheses: `0, max(1, n)` has two items."""
    items, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            items.append(text[start:position])
            start = position + 1
    return [*items, text[start:]]


def _item(text: str, whole: str) -> tuple[Expression, Expression | None]:
    low, dots, high = text.partition("..")
    if not low.strip() or (dots and not high.strip()):
        raise InputError(
            f"[{text}] in {whole!r} lacks a value; allowed is a number or a range; write for example [0..7]"
        )
    return parse_expression(low.strip()), parse_expression(high.strip()) if dots else None
