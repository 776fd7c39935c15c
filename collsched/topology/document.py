"""YAML text to a tree of scalars, lists and mappings that know their lines.

Scalars stay text, so that `12.5` can be read exactly and `no` is a name. The parser's events are turned into
the tree here, without recursion: depth, size and alias expansion are limited before memory is taken, tags
construct nothing, and duplicate keys are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from collsched.errors import InputError, TopologyError

MAX_FILE_BYTES = 64 * 2**20
MAX_DEPTH = 12
MAX_VALUES = 8_000_000  # scalars, lists and mappings of one file, aliases expanded


@dataclass(slots=True)
class Scalar:
    text: str
    line: int


@dataclass(slots=True)
class Sequence:
    items: list[Value]
    line: int


@dataclass(slots=True)
class Mapping:
    items: dict[str, Value]
    lines: list[int]  # of the keys, in order
    line: int


Value = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Source:
    """The file that a message is about."""

    name: str

    def error(self, line: int, message: object) -> TopologyError:
        """A message with its place, for `raise`. One that already has a place keeps it."""
        if isinstance(message, TopologyError):
            return message
        return TopologyError(f"{self.name}:{line}: {message}")


def read_text(path: Path, source: Source) -> str:
    """The text of a file, checked for size and encoding. Raises TopologyError."""
    if path.is_dir():
        raise TopologyError(f"{source.name}: is a directory; allowed is one YAML file; name the file inside it")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise TopologyError(f"{source.name}: has {size} bytes; allowed are {MAX_FILE_BYTES}; use the compact form")
        data = path.read_bytes()
    except FileNotFoundError:
        raise TopologyError(f"{source.name}: no such file; allowed is a readable YAML file; check the path") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TopologyError(
            f"{source.name}: cannot be read ({reason}); allowed is a readable YAML file; check it"
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise source.error(
            line,
            f"byte 0x{data[error.start]:02x} is not UTF-8; allowed is UTF-8 text; save the file with that encoding",
        ) from None


def parse(text: str, source: Source) -> Mapping:
    """The one mapping that a topology file consists of. Raises TopologyError with the line."""
    try:
        root = _Tree(source).build(_events(text))
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, source) from None
    if root is None:
        raise source.error(1, "the file is empty; allowed is a topology; begin with 'collsched: topology/1'")
    if not isinstance(root, Mapping):
        raise source.error(
            root.line, f"the file holds {describe(root)}; allowed is a mapping; begin with 'collsched: topology/1'"
        )
    return root


def describe(value: Value) -> str:
    """A value in words, for messages."""
    match value:
        case Scalar(text):
            return f"{text!r}" if len(text) <= 40 else f"{text[:39] + '…'!r}"
        case Sequence(items):
            return f"a list of {len(items)}"
        case Mapping(items):
            return "a mapping" + (f" with {next(iter(items))!r}" if items else "")


def _events(text: str) -> Iterator[Any]:
    """The events of libyaml, or of the pure Python parser where PyYAML was built without it."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    next_event = getattr(loader, "raw_event", loader.get_event)
    try:
        while (event := next_event()) is not None:
            yield event
            if type(event) is yaml.StreamEndEvent:
                return
    finally:
        loader.dispose()


def _syntax_error(error: yaml.YAMLError, text: str, source: Source) -> TopologyError:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        return source.error(line, f"not YAML ({str(error).splitlines()[0]}); allowed is plain text; remove it")
    problem = getattr(error, "problem", None) or "cannot be parsed"
    hint = "check indentation, brackets and quotes here and above"
    if "found character that cannot start any token" in problem:
        hint = "indent with spaces, and quote text that begins with a tab, @ or `"
    elif "expected ',' or" in problem:
        hint = 'inside braces, quote text with brackets ("gpu[0..7]"), and check commas and braces'
    return source.error(mark.line + 1, f"not YAML: {problem}; allowed is YAML 1.1; {hint}")


class _Tree:
    """A stack machine over parser events. `open` holds the unfinished lists and mappings, outermost first."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.open: list[Sequence | Mapping] = []
        self.keys: list[Scalar | None] = []  # per open value: the key that waits for its value
        self.names: list[str | None] = []  # per open value: its anchor
        self.starts: list[int] = []  # per open value: `count` when it was opened
        self.anchors: dict[str, tuple[Value, int]] = {}
        self.count = 0
        self.root: Value | None = None

    def build(self, events: Iterator[Any]) -> Value | None:
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self.scalar(event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self.close()
            elif kind is yaml.MappingStartEvent:
                self.start(event, Mapping({}, [], event.start_mark.line + 1))
            elif kind is yaml.SequenceStartEvent:
                self.start(event, Sequence([], event.start_mark.line + 1))
            elif kind is yaml.AliasEvent:
                self.alias(event)
            elif kind is yaml.DocumentStartEvent and self.root is not None:
                raise self.source.error(
                    event.start_mark.line + 1,
                    "a second document begins; allowed is one a file; split the file at '---'",
                )
        return self.root

    def scalar(self, event: Any) -> None:
        value = Scalar(event.value, event.start_mark.line + 1)
        if event.tag is not None:
            raise self.tagged(event)
        self.grow(1, value.line)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        if not self.open and not event.value:
            return  # a file of comments alone
        self.place(value)

    def start(self, event: Any, value: Sequence | Mapping) -> None:
        if event.tag is not None:
            raise self.tagged(event)
        if len(self.open) == MAX_DEPTH:
            raise self.source.error(
                value.line, f"nested deeper than {MAX_DEPTH}; allowed is what the format needs, at most 5; flatten it"
            )
        self.starts.append(self.count)
        self.grow(1, value.line)
        self.place(value)
        self.open.append(value)
        self.keys.append(None)
        self.names.append(event.anchor)

    def close(self) -> None:
        value, name, start = self.open.pop(), self.names.pop(), self.starts.pop()
        self.keys.pop()
        if name is not None:
            self.anchors[name] = (value, self.count - start)

    def alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise self.source.error(
                line,
                f"alias *{event.anchor} has no finished anchor; allowed is one defined above; define &{event.anchor}",
            )
        value, size = self.anchors[event.anchor]
        self.grow(size, line)
        self.place(value)

    def place(self, value: Value) -> None:
        """Puts a value where the innermost open list or mapping expects it."""
        if not self.open:
            self.root = value
            return
        parent = self.open[-1]
        if type(parent) is Sequence:
            parent.items.append(value)
            return
        assert type(parent) is Mapping
        key = self.keys[-1]
        if key is not None:
            parent.items[key.text] = value
            self.keys[-1] = None
            return
        if type(value) is not Scalar:
            raise self.source.error(
                value.line, f"{describe(value)} stands where a key should; allowed is a word; check brackets and colons"
            )
        if value.text in parent.items:
            raise self.source.error(
                value.line, f"duplicate key {value.text!r}; allowed is each key once; keep one of the two"
            )
        self.keys[-1] = value
        parent.lines.append(value.line)

    def grow(self, size: int, line: int) -> None:
        self.count += size
        if self.count > MAX_VALUES:
            raise self.source.error(
                line, f"the file expands to more than {MAX_VALUES} values; allowed are no more; remove nested aliases"
            )

    def tagged(self, event: Any) -> InputError:
        return self.source.error(
            event.start_mark.line + 1,
            f"tag {event.tag!r} is not known; allowed are untagged text, lists and mappings; remove the tag",
        )
