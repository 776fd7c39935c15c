"""A fabric in a few lines of text: tiers of switches from the top, what joins them, hosts that are alike as one; small
grids cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from collsched.report.kinds import role
from collsched.report.structure import Grid, Structure
from collsched.topology.names import compress
from collsched.units import format_bandwidth

WIDEST_GRID = 8
_NAMES = 48  # columns


def sketch(structure: Structure) -> list[str]:
    """The lines, without their colours."""
    if structure.grid is not None:
        return _grid(structure.grid)
    lines: list[str] = []
    ground = {node for _, members in structure.hosts for node in members} | set(structure.loose)
    for number in range(len(structure.tiers) - 1, -1, -1):
        tier = structure.tiers[number]
        below = set(structure.tiers[number - 1]) if number else ground
        lines.append(f"━━ {_names(structure, tier)}")
        lines += [f"   │ {text}" for text in _joining(structure, set(tier), set(tier))]
        lines += [f"   │ {text}" for text in _joining(structure, set(tier), below)]
    lines += _hosts(structure)
    if structure.loose:
        lines.append(f"□  {_names(structure, structure.loose)}")
        lines += [f"   ─ {text}" for text in _joining(structure, set(structure.loose), set(structure.loose))]
    return lines


def _hosts(structure: Structure) -> list[str]:
    """Hosts of equal parts and equal inner links together."""
    nodes = structure.topology.nodes
    host_of = {node: number for number, (_, members) in enumerate(structure.hosts) for node in members}
    inner: list[list[int]] = [[] for _ in structure.hosts]
    for number, link in enumerate(structure.topology.links):
        if link.src in host_of and host_of[link.src] == host_of.get(link.dst):
            inner[host_of[link.src]].append(number)
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for number, (name, members) in enumerate(structure.hosts):
        counts = Counter(role(nodes[node].name) for node in members)
        look = (tuple(f"{count} × {part}" if count > 1 else part for part, count in counts.items()),
                tuple(_counted(structure, inner[number])))  # fmt: skip
        alike.setdefault(look, []).append(name)
    lines = []
    for (members_of, links), names in alike.items():
        many = f"{len(names):,} hosts, each " if len(names) > 1 else ""
        lines.append(f"□  {_cut(compress(names))}: {many}{', '.join(members_of)}")
        lines += [f"   ─ {text}" for text in links]
    return lines


def _joining(structure: Structure, upper: set[int], lower: set[int]) -> list[str]:
    links = structure.topology.links
    return _counted(structure, (
        i for i, link in enumerate(links)
        if (link.src in upper and link.dst in lower) or (link.dst in upper and link.src in lower)
    ))  # fmt: skip


def _counted(structure: Structure, numbers: Iterable[int]) -> list[str]:
    """Links by the roles of their ends and their bandwidth, both directions as one: `8 × gpu ↔ nvswitch 300 GB/s`."""
    topology = structure.topology
    seen = {number: topology.links[number] for number in numbers}
    pairs = {(link.src, link.dst) for link in seen.values()}
    counts: Counter[str] = Counter()
    for link in seen.values():
        one, two = (role(topology.nodes[node].name) for node in (link.src, link.dst))
        back = (link.dst, link.src) in pairs
        if not back or link.src < link.dst:
            counts[f"{one} {'↔' if back else '→'} {two} {format_bandwidth(link.bandwidth)}"] += 1
    return [f"{count:,} × {text}" for text, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _names(structure: Structure, nodes: Sequence[int]) -> str:
    return _cut(compress(structure.topology.nodes[node].name for node in nodes))


def _cut(text: str) -> str:
    return text if len(text) <= _NAMES else f"{text[:_NAMES]}…"


def _grid(grid: Grid) -> list[str]:
    """Rank numbers of a small grid of two dimensions, or the sizes of another one."""
    ends = {(True, True): "torus", (False, False): "mesh"}.get((all(grid.wrap), any(grid.wrap)), "partly joined grid")
    if set(grid.dims) == {2} and len(grid.dims) > 2:
        return [f"hypercube of {len(grid.dims)} dimensions: ranks are joined whose numbers differ in one bit"]
    if len(grid.dims) > 2 or max(grid.dims) > WIDEST_GRID:
        return [f"{ends} of {' × '.join(map(str, grid.dims))}; ranks are numbered row by row"]
    rows, columns = grid.dims
    width = len(str(rows * columns - 1))
    lines = []
    for row in range(rows):
        cells = " ── ".join(f"{row * columns + column:>{width}}" for column in range(columns))
        lines.append(f"─ {cells} ─" if grid.wrap[1] else f"  {cells}")
        if row < rows - 1 or grid.wrap[0]:
            lines.append("  " + "    ".join("│".rjust(width) for _ in range(columns)))
    return lines
