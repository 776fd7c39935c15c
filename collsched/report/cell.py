"""Parts of a drawing: where nodes, frames and wires are. Units are those in which a rank is RANK wide; y grows
downwards."""

from __future__ import annotations

from dataclasses import dataclass, field

RANK, PITCH = 26.0, 34.0

Point = tuple[float, float]
Points = list[Point]
Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle by its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2

    def moved(self, dx: float, dy: float) -> Rect:
        return Rect(self.x + dx, self.y + dy, self.width, self.height)


@dataclass(slots=True)
class Cell:
    """A part of the drawing. `place`: its nodes. `frames`: named boxes. `wires`: parts of the finished wires, each from
    the lower-numbered node on. `open`: wires of links (node inside, node outside), from the node to the upper edge."""

    width: float = 0.0
    height: float = 0.0
    place: dict[int, Rect] = field(default_factory=dict)
    frames: list[tuple[str, Rect]] = field(default_factory=list)
    wires: dict[Pair, list[Points]] = field(default_factory=dict)
    open: dict[Pair, Points] = field(default_factory=dict)

    def add(self, child: Cell, dx: float, dy: float) -> None:
        """Put another cell into this one."""
        self.place |= {node: rect.moved(dx, dy) for node, rect in child.place.items()}
        self.frames += [(name, rect.moved(dx, dy)) for name, rect in child.frames]
        self.wires |= {pair: [_moved(part, dx, dy) for part in parts] for pair, parts in child.wires.items()}
        self.open |= {pair: _moved(points, dx, dy) for pair, points in child.open.items()}

    def join(self, a: int, b: int, points: Points) -> None:
        """The wire of the links between a and b, given from a to b."""
        self.wires[min(a, b), max(a, b)] = [points if a < b else points[::-1]]


def _moved(points: Points, dx: float, dy: float) -> Points:
    return [(x + dx, y + dy) for x, y in points]


def port(rect: Rect, x: float) -> Point:
    """The point of a bar or a rank nearest to x."""
    return min(max(x, rect.x), rect.x + rect.width), rect.y + rect.height / 2


def bow(a: Point, b: Point, bend: float = 0.18) -> Points:
    """A curve from a to b, bent to its left."""
    (ax, ay), (bx, by) = a, b
    mx, my = (ax + bx) / 2 + (by - ay) * bend, (ay + by) / 2 - (bx - ax) * bend
    steps = [number / 8 for number in range(9)]
    return [
        ((1 - t) ** 2 * ax + 2 * t * (1 - t) * mx + t * t * bx, (1 - t) ** 2 * ay + 2 * t * (1 - t) * my + t * t * by)
        for t in steps
    ]
