"""Names of ranks as people write them: looked up, selected by ranges, and shortened to ranges again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from collsched.errors import InputError
from collsched.topology.model import Topology

_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")
_BRACKET = re.compile(r"\[([\d,\-]+)\]")


@dataclass(frozen=True, slots=True)
class RankNames:
    """The ranks of a topology by name and by number. A word that is a rank's name means that rank first of all."""

    fabric: str
    names: tuple[str, ...]  # by rank number
    numbers: dict[str, int]
    switches: frozenset[str]

    @classmethod
    def of(cls, topology: Topology) -> Self:
        names = tuple(topology.nodes[node].name for node in topology.ranks)
        switches = frozenset(node.name for node in topology.nodes if node.kind == "switch")
        return cls(topology.name, names, {name: number for number, name in enumerate(names)}, switches)

    def number(self, rank: int | str) -> int:
        """The number of a rank given by name or number. Raises InputError where there is none."""
        if isinstance(rank, str):
            word = rank.strip()
            if word in self.numbers:
                return self.numbers[word]
            if not re.fullmatch(r"\d{1,9}", word):
                raise InputError(self.unknown(word))
            rank = int(word)
        if not 0 <= rank < len(self.names):
            raise InputError(f"rank {rank} does not exist; {self.fabric} has ranks 0 to {len(self.names) - 1}")
        return int(rank)

    def select(self, text: str) -> tuple[int, ...]:
        """Rank numbers in the order written: comma-separated names, numbers `12`, ranges `0-7`, and names with ranges
        `box[0-1]/gpu[0-3,6]`."""
        numbers: list[int] = []
        for raw in re.split(r",(?![^\[]*\])", text):
            word = raw.strip()
            span = None if word in self.numbers else _RANGE.fullmatch(word)
            if span:
                first, last = self.number(span[1]), self.number(span[2])
                numbers.extend(_span(word, first, last))
            else:
                numbers.extend(self.number(name) for name in self._expand(word))
        return tuple(numbers)

    def unknown(self, word: str) -> str:
        """Why `word` is no rank, and what it may have meant."""
        if word in self.switches:
            return f"{word!r} is a switch, not a rank"
        import difflib

        close = difflib.get_close_matches(word, self.names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the ranks are {compress(self.names)}"
        return f"no rank is named {word!r}; {hint}"

    def _expand(self, word: str) -> list[str]:
        """`box0/gpu[0-2,5]` → its names; any other word alone."""
        match = None if word in self.numbers else _BRACKET.search(word)
        if match is None:
            return [word]
        names: list[str] = []
        for part in match[1].split(","):
            span = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
            if span is None:
                raise InputError(f"{part!r} in {word!r} is not a number or a range such as 0-7")
            first, last = int(span[1]), int(span[2] or span[1])
            if last - first >= len(self.names):
                raise InputError(f"{word!r} names more ranks than the {len(self.names)} of {self.fabric}")
            for number in _span(part, first, last):
                names.extend(self._expand(word[: match.start()] + str(number) + word[match.end() :]))
        return names


def compress(names: Iterable[str]) -> str:
    """Names in order, with runs of numbers as ranges: `box[0-1]/gpu[0-7], ib0`. `RankNames.select` reads it back."""
    return ", ".join(_factor(_shapes(names)))


Word = tuple[str, ...]  # text, number, text, …: odd positions are numbers, or ranges once merged


def _shapes(names: Iterable[str]) -> list[Word]:
    """Each name cut at its numbers (those without a leading zero; the others stay text)."""
    return [tuple(re.split(r"((?<!\d)(?:0|[1-9]\d{0,8})(?!\d))", name)) for name in names]


def _factor(words: list[Word]) -> list[str]:
    """Merge words that differ in one number only, from the last number to the first."""
    for back in range(1, 1 + max((len(word) // 2 for word in words), default=0)):
        runs: dict[tuple[Word, Word], list[str]] = {}
        for word in words:
            at = len(word) - 2 * back
            key = (word[:at], word[at + 1 :]) if at > 0 else (word, ())
            runs.setdefault(key, []).append(word[at] if at > 0 else "")
        words = [
            (*head, _ranges(values), *tail) if values != [""] * len(values) else head
            for (head, tail), values in runs.items()
        ]
    return ["".join(_bracket(part) if i % 2 else part for i, part in enumerate(word)) for word in words]


def _bracket(number: str) -> str:
    return number if number.isdigit() else f"[{number}]"


def _ranges(values: list[str]) -> str:
    """["0", "1", "2", "5"] → "0-2,5"; values that are ranges already stay as they are if there is but one."""
    if len(values) == 1:
        return values[0]
    numbers = sorted({int(value) for value in values})
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _span(word: str, first: int, last: int) -> range:
    if last < first:
        raise InputError(f"the range {word!r} runs backwards; write {last}-{first}")
    return range(first, last + 1)
