"""Curves on two logarithmic axes as SVG, drawn here: a page of them needs no script."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 16, 14, 46


@dataclass(frozen=True)
class Curve:
    """`points`: (x, y) with positive coordinates, by x. `band`: of some x, the low and high y that it spreads over.
    `style`: the class that colours it. `marks`: x at which a point is marked as lost."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    marks: frozenset[float] = frozenset()


@dataclass(frozen=True)
class _Axis:
    """Logarithm of [low, high] to pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high <= self.low:
            return (self.start + self.end) / 2
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)


def chart(
    title: str, curves: Sequence[Curve], *, x_text: Callable[[float], str], y_text: Callable[[float], str], y_name: str
) -> str:
    """An <svg> element, with a title for those who cannot see it and the values of every point on hovering."""
    xs = sorted({x for curve in curves for x, _ in curve.points})
    ys = [y for curve in curves for _, y in curve.points] + [
        y for curve in curves for _, low, high in curve.band for y in (low, high)
    ]
    if not xs:
        return ""
    across = _Axis(xs[0], xs[-1], _LEFT, WIDTH - _RIGHT)
    decades = _decades(min(ys), max(ys))
    up = _Axis(decades[0], decades[-1], HEIGHT - _BOTTOM, _TOP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title, quote=True)}">']
    parts += _grid(xs, decades, across, up, x_text, y_text)
    parts.append(f'<text x="{_LEFT}" y="{HEIGHT - 6}">{html.escape(y_name)} over bytes, both axes logarithmic</text>')
    for curve in reversed(curves):  # the first on top
        parts += _draw(curve, across, up, x_text, y_text)
    return "\n".join([*parts, "</svg>"])


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _grid(
    xs: Sequence[float],
    decades: Sequence[float],
    across: _Axis,
    up: _Axis,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> list[str]:
    lines = []
    for y in decades:
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{up(y)}" y2="{up(y)}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{up(y) + 4}" text-anchor="end">{html.escape(y_text(y))}</text>')
    step = math.ceil(len(xs) / 9)
    for x in xs[::step]:
        lines.append(f'<line class="grid" x1="{across(x)}" x2="{across(x)}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        anchor = "end" if len(xs) > 1 and across(x) > WIDTH - 40 else "middle"
        at = f'x="{across(x)}" y="{HEIGHT - _BOTTOM + 17}"'
        lines.append(f'<text {at} text-anchor="{anchor}">{html.escape(x_text(x))}</text>')
    return lines


def _draw(
    curve: Curve, across: _Axis, up: _Axis, x_text: Callable[[float], str], y_text: Callable[[float], str]
) -> list[str]:
    lines = [f'<g class="{curve.style}">']
    if len(curve.band) > 1:
        upper = [f"{across(x)},{up(high)}" for x, _, high in curve.band]
        lower = [f"{across(x)},{up(low)}" for x, low, _ in reversed(curve.band)]
        lines.append(f'<polygon class="band" points="{" ".join(upper + lower)}"/>')
    if len(curve.points) > 1:
        path = " ".join(f"{across(x)},{up(y)}" for x, y in curve.points)
        lines.append(f'<polyline points="{path}"/>')
    for x, y in curve.points:
        lost = x in curve.marks
        said = f"{curve.name}, {x_text(x)}: {y_text(y)}{' (slower than a baseline)' if lost else ''}"
        shape = f'<circle class="{"lost" if lost else "point"}" cx="{across(x)}" cy="{up(y)}" r="{5 if lost else 3}">'
        lines.append(f"{shape}<title>{html.escape(said)}</title></circle>")
    return [*lines, "</g>"]
