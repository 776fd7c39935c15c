"""Reads topology files: the explicit form, and the compact form that expands to it.

The sections of a file are read in this order, whatever their order in the text: parameters, let, templates,
hosts, nodes, family, links. Grammar and examples: docs/topologies.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

from collsched.errors import InputError
from collsched.topology import fields
from collsched.topology.builder import Builder
from collsched.topology.document import Mapping as Tree
from collsched.topology.document import Scalar, Source, Value, parse, read_text
from collsched.topology.expression import Environment
from collsched.topology.expression import parse as parse_expression
from collsched.topology.families import FAMILIES, read_family
from collsched.topology.fields import Amount, Entry
from collsched.topology.model import Topology
from collsched.topology.parameters import Parameter, check_identifier, declare, settle
from collsched.topology.pattern import escape, parse_pattern
from collsched.units import suggest

VERSION = "topology/1"
MAX_COUNT = 1_000_000

_SECTIONS = frozenset(
    {"collsched", "name", "description", "parameters", "let", "templates", "hosts", "nodes", "family", "links"}
)
_NODE_KEYS = frozenset({"name", "kind", "host", "rail", "plane", "multicast", "reduce", "when"})
_LINK_KEYS = frozenset({"src", "dst", "a", "b", "bandwidth", "latency", "count", "when"})
_TEMPLATE_KEYS = frozenset({"nodes", "links"})


def load_topology(path: str | Path, params: Mapping[str, object] | None = None) -> Topology:
    """The topology in a YAML file, with values for its parameters. Raises TopologyError with file and line."""
    path = Path(path)
    source = Source(str(path))
    return read_topology(read_text(path, source), source, params or {})


def read_topology(text: str, source: Source, params: Mapping[str, object]) -> Topology:
    """As `load_topology`, from text that was read already."""
    return _File(text, source).expand(params)


def read_header(text: str, source: Source) -> tuple[str, str, dict[str, Parameter]]:
    """Name, description and declared parameters of a file, without expanding it."""
    file = _File(text, source)
    return file.name, file.description, file.parameters


class _File:
    """One file: its header checked, its sections ready to expand."""

    def __init__(self, text: str, source: Source) -> None:
        self.source = source
        tree = parse(text, source)
        self._check_version(tree)
        self.top = Entry(source, tree, "the file", _SECTIONS)
        self.name = self.top.text("name") if "name" in tree.items else Path(source.name).stem
        about = self.top.scalar("description")
        self.description = about.text if about else ""
        self.parameters = {name: declare(source, name, value) for name, value in self._section("parameters")}
        self.builder = Builder()

    def _check_version(self, tree: Tree) -> None:
        value = tree.items.get("collsched")
        if value is None:
            raise self.source.error(
                tree.line, f"the file has no version; allowed is {VERSION}; begin it with 'collsched: {VERSION}'"
            )
        if not isinstance(value, Scalar) or value.text != VERSION:
            found = repr(value.text) if isinstance(value, Scalar) else "not text"
            raise self.source.error(
                value.line,
                f"version is {found}; allowed is {VERSION}; write 'collsched: {VERSION}' or update collsched",
            )

    def _section(self, key: str) -> Iterable[tuple[str, Value]]:
        """The pairs of a mapping at the top of the file."""
        if key not in self.top.items:
            return ()
        return Entry(self.source, self.top.items[key], f"{key!r}").items.items()

    def expand(self, params: Mapping[str, object]) -> Topology:
        """The topology for these parameters."""
        environment = dict(settle(self.parameters, params, self.source))
        for name, value in self._section("let"):
            check_identifier(self.source, name, value.line)
            if name in environment:
                raise self.source.error(
                    value.line, f"{name!r} is defined twice; allowed is each name once; rename this one"
                )
            environment[name] = self._arithmetic(name, value, environment)
        self._hosts(environment)
        self._nodes(self.top, environment)
        self._family(environment)
        self._links(self.top, environment)
        try:
            return self.builder.finish(self.name, self.source.name)
        except InputError as error:
            raise self.top.error(error, "nodes") from None

    def _arithmetic(self, name: str, value: Value, environment: Environment) -> int | Fraction | tuple[int, ...]:
        if not isinstance(value, Scalar):
            raise self.source.error(
                value.line, f"{name!r} is not an expression; allowed is arithmetic; write {name}: 2 * boxes"
            )
        try:
            return parse_expression(value.text)(environment)
        except InputError as error:
            raise self.source.error(value.line, error) from None

    def _hosts(self, environment: Environment) -> None:
        templates = {
            name: Entry(self.source, value, f"template {name!r}", _TEMPLATE_KEYS)
            for name, value in self._section("templates")
        }
        for pattern, value in self._section("hosts"):
            if not isinstance(value, Scalar) or value.text not in templates:
                found = repr(value.text) if isinstance(value, Scalar) else "not a name"
                known = ", ".join(templates) or "none"
                hint = isinstance(value, Scalar) and suggest(value.text, tuple(templates))
                raise self.source.error(
                    value.line,
                    f"template of hosts {pattern!r} is {found}; allowed are {known}; {hint or 'add it to templates'}",
                )
            try:
                hosts = parse_pattern(pattern).expand(environment)
            except InputError as error:
                raise self.source.error(value.line, error) from None
            for host, inner in hosts:
                self._nodes(templates[value.text], inner, host)
                self._links(templates[value.text], inner, host)

    def _nodes(self, section: Entry, environment: Environment, host: str | None = None) -> None:
        for value in section.listing("nodes"):
            entry = Entry(self.source, value, "node", _NODE_KEYS)
            try:
                self._node(entry, environment, host)
            except InputError as error:
                raise entry.error(error) from None

    def _node(self, entry: Entry, environment: Environment, host: str | None) -> None:
        kind = cast(Literal["rank", "switch"], entry.choice("kind", ("rank", "switch")))
        multicast, reduce = entry.flag("multicast", environment), entry.flag("reduce", environment)
        name = entry.text("name")
        for full, inner in parse_pattern(f"{escape(host)}/{name}" if host else name).expand(environment):
            if "when" in entry.items and not self._when(entry, inner):
                continue
            places = {key: self._place(entry, key, inner) for key in ("host", "rail", "plane") if key in entry.items}
            if host:
                places.setdefault("host", host)
            self.builder.node(full, kind, line=entry.line, multicast=multicast, reduce=reduce, **places)

    def _place(self, entry: Entry, key: str, environment: Environment) -> str:
        names = parse_pattern(entry.text(key)).expand(environment)
        if len(names) != 1:
            raise entry.error(f"{key!r} stands for {len(names)} names; allowed is one; use an index such as [i]", key)
        return names[0][0]

    def _when(self, entry: Entry, environment: Environment) -> bool:
        try:
            return bool(parse_expression(entry.text("when"))(environment))
        except InputError as error:
            raise entry.error(error, "when") from None

    def _links(self, section: Entry, environment: Environment, host: str | None = None) -> None:
        prefix = f"{host}/" if host else ""
        for value in section.listing("links"):
            entry = Entry(self.source, value, "link", _LINK_KEYS)
            try:
                self._link(entry, environment, prefix)
            except InputError as error:
                raise entry.error(error) from None

    def _link(self, entry: Entry, environment: Environment, prefix: str) -> None:
        items = entry.items
        directed = "src" in items or "dst" in items
        if directed and ("a" in items or "b" in items):
            raise InputError("link mixes src/dst with a/b; allowed is one pair; a and b stand for both directions")
        first, second = ("src", "dst") if directed else ("a", "b")
        rate, alpha = self._amounts(entry)
        add = self.builder.link if directed else self.builder.both
        find, when = self.builder.find, "when" in items
        hint = "links out of a template go under the file's own 'links'" if prefix else "add it under 'nodes'"
        count = self._count(entry, environment) if "count" in items else 1
        for source, outer in _names(prefix, entry.text(first), environment):
            for target, inner in _names(prefix, entry.text(second), outer):
                if when and not self._when(entry, inner):
                    continue
                width = rate(inner)
                add(find(source, hint), find(target, hint), width if count == 1 else width * count, alpha(inner))

    def _amounts(self, entry: Entry) -> tuple[Amount, Amount]:
        key = "bandwidth"
        try:
            rate = fields.bandwidth(entry.text(key))
            key = "latency"
            alpha = fields.latency(entry.text(key)) if key in entry.items else _DEFAULT_LATENCY
        except InputError as error:
            raise entry.error(error, key) from None
        return rate, alpha

    def _count(self, entry: Entry, environment: Environment) -> int:
        try:
            count = parse_expression(entry.text("count")).integer(environment)
        except InputError as error:
            raise entry.error(error, "count") from None
        if not 1 <= count <= MAX_COUNT:
            raise entry.error(
                f"count is {count}; allowed is from 1 to {MAX_COUNT}; leave the link out if there is none", "count"
            )
        return count

    def _family(self, environment: Environment) -> None:
        if "family" not in self.top.items:
            return
        entry = Entry(self.source, self.top.items["family"], "family")
        kind = entry.choice("kind", tuple(FAMILIES))
        entry.what = f"family {kind!r}"
        family, ends = read_family(entry, FAMILIES[kind], environment)
        if "when" in entry.items and not self._when(entry, environment):
            return
        try:
            nodes = ends.resolve(self.builder, environment, family.size, entry.line)
            first = len(self.builder.nodes)
            family.build(self.builder, nodes, entry.line)
        except InputError as error:
            raise entry.error(error) from None
        multicast, reduce = entry.flag("multicast", environment), entry.flag("reduce", environment)
        self.builder.enable(range(first, len(self.builder.nodes)), multicast=multicast, reduce=reduce)


_DEFAULT_LATENCY = fields.latency("1 us")


def _names(prefix: str, text: str, environment: Environment) -> Iterable[tuple[str, Environment]]:
    """The names of one end of a link."""
    if "[" not in text and "]" not in text:
        return ((prefix + text, environment),)
    return ((prefix + name, inner) for name, inner in parse_pattern(text).expand(environment))
