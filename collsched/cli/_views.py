"""How the verbs show a fabric, a bound and a forest to people: labelled rows, nothing wider than the terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from collsched.cli import _common as common
from collsched.collective import Kind
from collsched.report.kinds import role
from collsched.topology.model import Topology
from collsched.topology.names import compress

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.forest.model import Forest
    from collsched.plan import Plan

LABEL = 13  # columns
MOST_CLASSES = 6  # kinds of links shown
MOST_NAMES = 8  # groups of node names shown


def row(console: Console, label: str, text: str, style: str = "") -> None:
    """One row: a label, and a text that wraps beside it."""
    from rich.text import Text

    body = Text(text, style=style, overflow="fold")
    lines = body.wrap(console, max(console.width - LABEL, 20)) if console.is_terminal else [body]
    for number, line in enumerate(lines):
        shown = Text().append((label if number == 0 else "").ljust(LABEL), style="cyan")
        console.print(shown.append_text(line))


def show_fabric(console: Console, topology: Topology) -> None:
    """Name, ranks, hosts, switches, and the kinds of links with their counts."""
    hosts = {topology.nodes[node].host for node in topology.ranks} - {None}
    switches = len(topology.nodes) - len(topology.ranks)
    parts = [topology.name, plural(len(topology.ranks), "rank")]
    parts += [f"{plural(len(hosts), 'host')}"] if hosts else []
    parts += [plural(switches, "switch", "switches")] if switches else []
    row(console, "fabric", " · ".join(parts), style="bold")
    classes = link_classes(topology)
    for text in classes[:MOST_CLASSES]:
        row(console, "", text)
    if len(classes) > MOST_CLASSES:
        row(console, "", f"… and {len(classes) - MOST_CLASSES} more kinds of links")


def link_classes(topology: Topology) -> list[str]:
    """Links by the roles of their ends and their bandwidth, most numerous first: `16 × gpu ↔ nvswitch 300 GB/s`."""
    roles = [role(node.name) for node in topology.nodes]
    counts = Counter((roles[link.src], roles[link.dst], link.bandwidth) for link in topology.links)
    rows: list[tuple[int, str]] = []
    for (a, b, bandwidth), count in sorted(counts.items()):
        back = counts.get((b, a, bandwidth), 0)
        if back == count and a != b:
            if a < b:  # one row for both directions, from the rank's side if there is one
                rows.append((count, f"{count:,} × {a} ↔ {b} {rate(bandwidth)}"))
        elif a == b and _paired(topology, roles, a, bandwidth):
            rows.append((count // 2, f"{count // 2:,} × {a} ↔ {b} {rate(bandwidth)}"))
        else:
            rows.append((count, f"{count:,} × {a} → {b} {rate(bandwidth)}"))
    return [text for _, text in sorted(rows, key=lambda pair: -pair[0])]


def show_forests(console: Console, plan: Plan, bound: Fraction, what: str) -> None:
    """Rate and its share of `bound` (a ratio, of all phases; in words `what`), number of trees, heights."""
    report = plan.report
    attained = common.algbw(plan.weight, report.ratio)
    if attained is None:
        row(console, "forest", "nothing has to move")
        return
    row(console, "forest", f"{rate(attained)}, {share(bound, report.ratio)} of {what}")
    for forest, phase in zip(plan.forests, report.forests, strict=True):
        depth = f"{plural(phase.depth_max, 'hop')} deep (mean {phase.depth_mean:.3g})"
        row(console, "", f"{_trees(plan, forest, phase.trees)}, {depth}")


def _trees(plan: Plan, forest: Forest, distinct: int) -> str:
    """`114 distinct out-trees, 13 per rank`; distinct ones stand for several."""
    several = "distinct " if distinct < forest.multiplicity.sum() else ""
    trees = plural(distinct, f"{several}{forest.direction}-tree")
    if plan.collective.kind is Kind.ALL_TO_ALL:
        return f"{plural(distinct, 'path')}, {plural(forest.k, 'unit')} a pair"
    if len(plan.collective.shards) == 1:
        return trees
    each = "rank" if set(plan.collective.shards) == {1} else "unit of shard size"
    return f"{trees}, {forest.k} per {each}"


def members(topology: Topology, nodes: Iterable[int]) -> str:
    """Node names as ranges, the longest lists cut short: `box0/gpu[0-7], box0/nvswitch`."""
    groups = compress(topology.nodes[node].name for node in nodes)
    parts = re.split(r", ", groups)
    if len(parts) <= MOST_NAMES:
        return groups
    return ", ".join(parts[:MOST_NAMES]) + f" and {len(parts) - MOST_NAMES} more (all of them with --json)"


def show_stages(console: Console, seconds: Mapping[str, float]) -> None:
    """Time per stage, largest first, and their sum."""
    from collsched.units import format_seconds

    total = sum(seconds.values())
    parts = [f"{stage} {format_seconds(spent)}" for stage, spent in seconds.items() if spent >= total / 100]
    row(console, "time", f"{format_seconds(total)}: {', '.join(parts)}")


def rate(value: Fraction | float | None) -> str:
    """A rate for people; `—` where there is none."""
    from collsched.units import format_bandwidth

    return "—" if value is None else format_bandwidth(value)


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def share(part: Fraction, whole: Fraction) -> str:
    """`part` as a percentage of `whole`, never rounded up to 100."""
    percent = 100 * part / whole
    if percent == 100:
        return "100 %"
    return f"{min(float(percent), 99.99):.2f} %" if percent < 100 else f"{float(percent):.2f} %"


def _paired(topology: Topology, roles: list[str], name: str, bandwidth: Fraction) -> bool:
    """Does every link between two nodes of one role have an equal one the other way?"""
    ends = {
        (link.src, link.dst)
        for link in topology.links
        if roles[link.src] == roles[link.dst] == name and link.bandwidth == bandwidth
    }
    return all((b, a) in ends for a, b in ends)
