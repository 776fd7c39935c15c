"""Where all of a fabric is drawn: ranks as cells, hosts as boxes around them, switches as bars over what they join.

A link is a wire that leaves its lower end upwards and ends on the bar of its upper end, as on a circuit diagram:

    ━━━━━━━━━━━ ib ━━━━━━━━━━━━━
      │   │   │     │   │   │          wires to a bar are vertical; a row of hosts below another one sends its wires
    ┌─□───□───□─┐ ┌─□───□───□─┐        up through the gutters between the hosts above
    │ nvswitch  │ │ nvswitch  │
    └───────────┘ └───────────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, cos, log, pi, sin, sqrt

from collsched.report.cell import PITCH, RANK, Cell, Point, Rect, bow, port
from collsched.report.layout_grid import grid_cell
from collsched.report.structure import Structure, components

BAR, LIFT = 14.0, 22.0  # height of a bar, and from bar to bar
SHORTEST = 1.5 * PITCH  # bar
GUTTER, MARGIN = 24.0, 10.0
ROW = 1200.0  # width up to which cells stay in one row; beyond it
WIDE = 2.1  # is the width over height that their grid aims at,
RAGGED = 0.2  # and this what an incomplete last row counts for


def layout(structure: Structure) -> Cell:
    """The drawing of a whole fabric."""
    if structure.grid is not None:
        return grid_cell(structure)
    cells = [_host(structure, name, members) for name, members in structure.hosts]
    if structure.loose and not structure.tiers:
        cells.append(_host(structure, "", structure.loose))
    else:
        cells += [_host(structure, "", (rank,)) for rank in structure.loose]
    for tier in structure.tiers:
        cells = _stacked(structure, cells, tier)
    whole = cells[0] if len(cells) == 1 else _above(structure, cells, ())
    for (a, b), points in list(whole.open.items()):  # links between nodes of one tier
        if (min(a, b), max(a, b)) not in whole.wires and b in whole.place:
            whole.join(a, b, bow(points[0], port(whole.place[b], points[0][0])))
    whole.open.clear()
    return whole


def _stacked(structure: Structure, cells: list[Cell], tier: Sequence[int]) -> list[Cell]:
    """One cell for each set of cells that switches of this tier join."""
    found = []
    for group in components([frozenset(cell.place) for cell in cells], tier, structure):
        below = [cells[item] for item in group if item < len(cells)]
        switches = [tier[item - len(cells)] for item in group if item >= len(cells)]
        found.append(_above(structure, below, switches) if switches or len(below) > 1 else below[0])
    return found


def _above(structure: Structure, below: Sequence[Cell], switches: Sequence[int]) -> Cell:
    """Cells side by side, in rows where there are many, and the bars of `switches` over them."""
    ground = _in_rows(below)
    extents = [_extent(ground, switch) for switch in switches]
    levels = _levels(extents)
    top = (max(levels, default=-1) + 1) * LIFT + (LIFT if switches else 0.0)
    whole = Cell(ground.width, ground.height + top)
    whole.add(ground, 0, top)
    for switch, level, (left, right) in zip(switches, levels, extents, strict=True):
        whole.place[switch] = Rect(left, top - LIFT - level * LIFT - BAR, right - left, BAR)
    _finish(structure, whole, switches)
    return whole


def _in_rows(cells: Sequence[Cell]) -> Cell:
    """Cells in rows, with a gutter before each where there are several rows; all open wires up to the upper edge."""
    width = max((cell.width for cell in cells), default=8 * PITCH) + GUTTER
    height = max((cell.height for cell in cells), default=0.0) + GUTTER
    columns = _columns(len(cells), width, height)
    rows = [cells[first : first + columns] for first in range(0, len(cells), columns)]
    margin = GUTTER if len(rows) > 1 else 0.0
    ground, y = Cell(), 0.0
    for number, row in enumerate(rows):
        x = margin
        for cell in row:
            _place(ground, cell, x, y, first=number == 0)
            x += cell.width + GUTTER
        ground.width = max(ground.width, x - GUTTER)
        y += max(cell.height for cell in row) + GUTTER
    ground.width, ground.height = ground.width or 8 * PITCH, max(0.0, y - GUTTER)
    return ground


def _place(ground: Cell, cell: Cell, x: float, y: float, *, first: bool) -> None:
    """A cell at its place; wires of the first row go straight up, those of others through the gutter on the left."""
    escaping = sorted({pair[1] for pair in cell.open})
    lane = {outside: number / max(1, len(escaping)) for number, outside in enumerate(escaping)}
    ground.add(cell, x, y)
    for pair in cell.open:
        points = ground.open[pair]
        if not first:
            across = y - 2 - (GUTTER - 8) * lane[pair[1]] * 0.5
            gutter = x - 4 - (GUTTER - 8) * lane[pair[1]]
            points = [*points, (points[-1][0], across), (gutter, across)]
        ground.open[pair] = [*points, (points[-1][0], 0.0)]


def _columns(count: int, width: float, height: float) -> int:
    """Cells in a row, so that the rows together are about WIDE times as wide as high."""
    if count * width <= ROW or count < 2:
        return max(1, count)

    def badness(columns: int) -> float:
        shape = columns * width / (ceil(count / columns) * height)
        return abs(log(shape / WIDE)) + RAGGED * bool(count % columns)

    return min(range(1, count + 1), key=badness)


def _levels(extents: Sequence[Point]) -> list[int]:
    """The lowest level for each bar on which it is clear of all others, first come first."""
    taken: list[list[Point]] = []
    levels = []
    for left, right in extents:
        level = 0
        while level < len(taken) and any(left < b + 6 and a - 6 < right for a, b in taken[level]):
            level += 1
        if level == len(taken):
            taken.append([])
        taken[level].append((left, right))
        levels.append(level)
    return levels


def _extent(ground: Cell, switch: int) -> Point:
    """The left and the right end of a bar: the wires to it and a little more, or everything where there are none."""
    ends = [points[-1][0] for (_, outside), points in ground.open.items() if outside == switch]
    if not ends:
        return 0.0, ground.width
    left, right = min(ends) - MARGIN, max(ends) + MARGIN
    if right - left < SHORTEST:
        left, right = (left + right - SHORTEST) / 2, (left + right + SHORTEST) / 2
    shift = max(0.0, -left) - max(0.0, right - ground.width)
    if right - left <= ground.width:
        left, right = left + shift, right + shift
    return min(left, min(ends) - 2), max(right, max(ends) + 2)


def _finish(structure: Structure, whole: Cell, switches: Sequence[int]) -> None:
    """Wires onto the bars; and those that leave the bars, up to the upper edge."""
    for pair in [pair for pair in whole.open if pair[1] in whole.place]:
        points = whole.open.pop(pair)
        if pair[1] not in set(switches):
            whole.join(*pair, bow(points[0], port(whole.place[pair[1]], points[0][0])))
            continue
        x = points[-1][0]
        bar = whole.place[pair[1]]
        whole.join(*pair, [*points[:-1], (x, bar.y + BAR / 2)])
    for switch in switches:
        bar = whole.place[switch]
        others = [near for near in structure.neighbours[switch] if near not in whole.place]
        for number, other in enumerate(others):
            x = bar.x + bar.width * (number + 1) / (len(others) + 1)
            whole.open[switch, other] = [(x, bar.y + BAR / 2), (x, 0.0)]
        for other in structure.neighbours[switch]:
            pair = (min(switch, other), max(switch, other))
            if other in whole.place and pair not in whole.wires and switch < other:
                one, two = bar.centre, whole.place[other].centre
                whole.join(switch, other, bow(one, two))


def _host(structure: Structure, name: str, members: Sequence[int]) -> Cell:
    """A host: its ranks in rows or on a circle; switches that lead out or up above them, others (NVSwitches) below."""
    inside = set(members)
    ranks = [node for node in members if structure.topology.nodes[node].kind == "rank"]
    above, below = _inner_tiers(structure, members, inside)
    peers = max((sum(near in inside and near in set(ranks) for near in structure.neighbours[rank]) for rank in ranks),
                default=0)  # fmt: skip
    cell = _circle(structure, ranks) if peers > 1 else _rows(structure, ranks, many=len(structure.topology.ranks) > 32)
    for tier in above:
        cell = _above(structure, [cell], tier)
    _hang(structure, cell, below)
    if not name:
        return cell
    framed = Cell(cell.width + 2 * MARGIN, cell.height + 2 * MARGIN)
    framed.frames.append((name, Rect(0, 0, framed.width, framed.height)))
    framed.add(cell, MARGIN, MARGIN)
    for pair, points in framed.open.items():
        framed.open[pair] = [*points[:-1], (points[-1][0], 0.0)]
    return framed


def _inner_tiers(structure: Structure, members: Sequence[int], inside: set[int]) -> tuple[list[list[int]], list[int]]:
    """Switches of a host: those on the way out by distance from its ranks, and those that join its ranks alone."""
    kind = [node.kind for node in structure.topology.nodes]
    below, tiers = [], list[list[int]]()
    front = {node for node in members if kind[node] == "rank"}
    known = set(front)
    for node in members:
        near = structure.neighbours[node]
        if kind[node] == "switch" and near and all(other in front for other in near):
            below.append(node)
    known |= set(below)
    while front:
        front = {near for node in front for near in structure.neighbours[node] if near in inside} - known
        known |= front
        if front:
            tiers.append(sorted(front))
    lost = [node for node in members if node not in known]
    return tiers + ([lost] if lost else []), below


def _rows(structure: Structure, ranks: Sequence[int], *, many: bool) -> Cell:
    """Ranks in rows. Wires of the first row leave upwards, those of others through the gap on the left."""
    columns = len(ranks) if len(ranks) <= (4 if many else 16) else max(4, ceil(sqrt(2 * len(ranks))))
    cell = Cell(max(1, columns) * PITCH, ceil(len(ranks) / max(1, columns)) * PITCH)
    for number, rank in enumerate(ranks):
        x, y = number % columns * PITCH + (PITCH - RANK) / 2, number // columns * PITCH + (PITCH - RANK) / 2
        cell.place[rank] = Rect(x, y, RANK, RANK)
    _between(structure, cell, ranks)
    for rank in ranks:
        rect = cell.place[rank]
        others = [near for near in structure.neighbours[rank] if near not in cell.place]
        for number, other in enumerate(others):
            share = (number + 1) / (len(others) + 1)
            if rect.y < PITCH:
                x = rect.x + RANK * share
                cell.open[rank, other] = [(x, rect.y), (x, 0.0)]
            else:
                x = rect.x - (PITCH - RANK) * share
                cell.open[rank, other] = [(rect.x, rect.y + RANK * share), (x, rect.y + RANK * share), (x, 0.0)]
    return cell


def _circle(structure: Structure, ranks: Sequence[int]) -> Cell:
    """Ranks on a circle, the links between them as chords; other wires go straight up."""
    radius = max(2.2 * PITCH, len(ranks) * PITCH * 1.25 / (2 * pi))
    size = 2 * radius + RANK
    cell = Cell(size * 1.25, size)
    for number, rank in enumerate(ranks):
        turn = 2 * pi * (number + 0.5) / len(ranks) - pi / 2
        x, y = cell.width / 2 + 1.22 * radius * cos(turn), size / 2 + radius * sin(turn)
        cell.place[rank] = Rect(x - RANK / 2, y - RANK / 2, RANK, RANK)
    _between(structure, cell, ranks, centre=(cell.width / 2, size / 2))
    for rank in ranks:
        x, y = cell.place[rank].centre
        for number, other in enumerate(near for near in structure.neighbours[rank] if near not in cell.place):
            cell.open[rank, other] = [(x + 3 * number, y), (x + 3 * number, 0.0)]
    return cell


def _between(structure: Structure, cell: Cell, ranks: Iterable[int], centre: Point | None = None) -> None:
    """Links from rank to rank within a host: chords bent towards the middle of the circle, or short bows."""
    for rank in ranks:
        for other in structure.neighbours[rank]:
            if other in cell.place and rank < other:
                one, two = cell.place[rank].centre, cell.place[other].centre
                if centre is None:
                    cell.join(rank, other, bow(one, two, -0.3))
                    continue
                middle = (one[0] + two[0]) / 2, (one[1] + two[1]) / 2
                side = (two[1] - one[1]) * (centre[0] - middle[0]) - (two[0] - one[0]) * (centre[1] - middle[1])
                cell.join(rank, other, bow(one, two, 0.16 if side > 0 else -0.16))


def _hang(structure: Structure, cell: Cell, switches: Sequence[int]) -> None:
    """Bars below the ranks, for switches that join them alone."""
    y = cell.height + 6
    for switch in switches:
        cell.place[switch] = bar = Rect(0.0, y, cell.width, BAR)
        lowest = max(cell.place[near].y for near in structure.neighbours[switch])
        for near in structure.neighbours[switch]:
            rect = cell.place[near]
            cell.open.pop((near, switch), None)
            x = rect.x + RANK / 2
            if rect.y >= lowest - 1:
                cell.join(near, switch, [(x, rect.y + RANK), (x, bar.y + BAR / 2)])
            else:
                gap, level = rect.x + RANK + (PITCH - RANK) / 2, rect.y + RANK * 0.7
                cell.join(near, switch, [(rect.x + RANK, level), (gap, level), (gap, bar.y + BAR / 2)])
        y += LIFT
        cell.height = y - LIFT + BAR + 2
