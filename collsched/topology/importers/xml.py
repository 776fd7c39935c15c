"""XML text to a tree of elements that know their lines: no entities, bounded depth and size, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import whole

MAX_DEPTH = 64
MAX_ELEMENTS = 400_000


@dataclass(slots=True)
class Element:
    """A tag with its attributes, children and text; a namespace before the tag is dropped."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def all(self, tag: str) -> Iterator[Element]:
        """The children of a tag."""
        return (child for child in self.children if child.tag == tag)

    def walk(self) -> Iterator[Element]:
        """This element and all below it, in the order of the file."""
        stack = [self]
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.children))

    def number(self, source: Source, name: str, low: int, high: int) -> int:
        """A whole number in an attribute. Raises TopologyError with the line."""
        return whole(self.get(name), f"{source.name}:{self.line}: {name!r} of <{self.tag}>", low, high)


class _Reader:
    """Handlers of one expat parser. `open` are the elements not yet closed, outermost first."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.open: list[Element] = []
        self.root: Element | None = None
        self.count = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.data
        self.parser.EntityDeclHandler = self.entity

    def fail(self, message: str) -> NoReturn:
        raise self.source.error(self.parser.CurrentLineNumber, message)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS:
            self.fail(f"more than {MAX_ELEMENTS} XML elements; allowed are no more; import a smaller part")
        if len(self.open) == MAX_DEPTH:
            self.fail(f"XML nested deeper than {MAX_DEPTH}; allowed is no deeper; check that this is a topology")
        element = Element(tag.rpartition(":")[2], attributes, self.parser.CurrentLineNumber)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def end(self, _: str) -> None:
        self.open.pop()

    def data(self, text: str) -> None:
        if self.open and not text.isspace():
            self.open[-1].text += text

    def entity(self, *_: object) -> NoReturn:
        self.fail("the file declares an XML entity; allowed are none; remove the <!ENTITY> lines")


def parse_xml(text: str, source: Source) -> Element:
    """The root element. Raises TopologyError with the line."""
    reader = _Reader(source)
    try:
        reader.parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise source.error(
            error.lineno, f"not XML: {reason}; allowed is a whole XML file; check that it is not cut off"
        ) from None
    except (UnicodeError, LookupError, ValueError) as error:  # an encoding that expat does not know
        raise TopologyError(
            f"{source.name}: not XML ({str(error)[:60]}); allowed is UTF-8; save it with that encoding"
        ) from None
    if reader.root is None:
        raise source.error(1, "no XML element; allowed is one; check that the file is not empty")
    return reader.root
