"""A benchmark as one self-contained page, without a script: curves, every row, what the figures depend on."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from collsched.report.chart import Curve, chart
from collsched.report.page import STYLE
from collsched.units import format_bandwidth, format_bytes, format_seconds

Row = Mapping[str, Any]
OWN_STYLE = "measured.css"
_DEFAULT, _BEST = ", default", ", best setting"
_PLACES = ("out of place", "in place")


def measured_page(result: Mapping[str, Any]) -> str:
    """The page of what `collsched bench --json` prints."""
    assets = files("collsched.report") / "assets"
    title = f"{result['collective']} on {result['ranks']} ranks, measured"
    body = "\n".join(
        [
            f"<header><h1>{_text(title)}</h1><p id='subtitle'>{_text(_subtitle(result))}</p></header>",
            _facts(result),
            _notes(result["notes"]),
            *(_placement(result, in_place) for in_place in (False, True) if _rows(result, in_place)),
            _about(result),
        ]
    )
    style = "\n".join((assets / name).read_text(encoding="utf-8") for name in (STYLE, OWN_STYLE))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n<link rel="icon" href="data:,">\n'
        f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _rows(result: Mapping[str, Any], in_place: bool) -> list[Row]:
    return [row for row in result["rows"] if row["in_place"] is in_place]


def _subtitle(result: Mapping[str, Any]) -> str:
    versions = result["provenance"].get("versions", {})
    beside = ", ".join(text for name, text in versions.items() if name.startswith("baseline ")) or "no baseline"
    return f"engine {result['engine']} beside {beside}; plan {result['digest'][:16]} of {result['topology']}"


def _facts(result: Mapping[str, Any]) -> str:
    """One box a library: at how many sizes the plan won."""
    boxes = []
    for score in result["scores"]:
        won, sizes = score["sizes"] - len(score["slower_at_bytes"]), score["sizes"]
        ratio = score["ratio"]
        boxes.append(
            f"<div><dt>{_text(score['baseline'])}, {_PLACES[score['in_place']]}</dt>"
            f'<dd class="{"loses" if won < sizes else ""}">faster at {won} of {sizes} sizes'
            f"<small>its time / the plan's: {_ratio(ratio['min'])} to {_ratio(ratio['max'])}, "
            f"mean {_ratio(ratio['mean'])}</small>"
            "</dd></div>"
        )
    average = result["average_busbw_GBps"]
    boxes.append(f"<div><dt>average busbw</dt><dd>{average:.4g} GB/s<small>of the plan, all rows</small></dd></div>")
    return f'<dl class="facts">{"".join(boxes)}</dl>'


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f'<li class="{"loses" if note.startswith("slower") else ""}">{_text(note)}</li>' for note in notes)
    return f'<ul class="notes">{items}</ul>'


def _placement(result: Mapping[str, Any], in_place: bool) -> str:
    rows = _rows(result, in_place)
    place = _PLACES[in_place]
    curves = _curves(rows)
    time, busbw = (_chart(place, curves, rows, what) for what in ("time", "busbw"))
    return (
        f'<section class="card measured"><h2>{place[0].upper() + place[1:]}</h2>{_legend(curves)}'
        f'<div class="charts"><div>{time}</div><div>{busbw}</div></div>{_table(rows)}</section>'
    )


def _key(row: Row) -> str:
    """What one curve is of: the plan, a library's default, or the library at the best setting of each size."""
    if row["side"] == "plan":
        return f"plan ({row['engine']})"
    return str(row["engine"]) + (_DEFAULT if row["setting"] == "default" else _BEST)


def _curves(rows: Sequence[Row]) -> list[Curve]:
    """In seconds. The plan, the baselines, predicted, bound."""
    plans = [row for row in rows if row["side"] == "plan"]
    lost = frozenset(row["bytes"] for row in plans if row["ratio"] is not None and row["ratio"] < 1)
    curves: list[Curve] = []
    for name in dict.fromkeys(_key(row) for row in rows):
        own = {row["bytes"]: row for row in rows if _key(row) == name}
        if name.endswith(_BEST):  # where the default is the fastest, it is the best
            default = {row["bytes"]: row for row in rows if _key(row) == name.replace(_BEST, _DEFAULT)}
            own = dict(sorted((default | own).items()))
        style = f"other{(len(curves) - 1) % 5}" if curves else "plan"
        curves.append(_measured(name, style, list(own.values()), lost if style == "plan" else frozenset()))
    for name in ("predicted", "bound"):
        points = [(row["bytes"], row[f"{name}_seconds"]) for row in plans if row[f"{name}_seconds"] > 0]
        curves.append(Curve(f"{name} (model of the fabric)", name, points))
    return curves


def _measured(name: str, style: str, rows: Sequence[Row], lost: frozenset[float]) -> Curve:
    known = [(row["bytes"], row["seconds"]) for row in rows if row["seconds"]["min"] > 0]
    points = [(nbytes, seconds["p50"]) for nbytes, seconds in known]
    return Curve(name, style, points, [(nbytes, s["min"], s["p95"]) for nbytes, s in known], lost)


def _chart(place: str, curves: Sequence[Curve], rows: Sequence[Row], what: str) -> str:
    if what == "time":
        return chart(
            f"time by size, {place}", curves,
            x_text=lambda x: format_bytes(int(x)), y_text=format_seconds, y_name="time",
        )  # fmt: skip
    plan = next(row for row in rows if row["side"] == "plan")
    factor = plan["busbw_GBps"] / plan["algbw_GBps"] if plan["algbw_GBps"] else 0.0
    rates = [
        Curve(
            curve.name,
            curve.style,
            [(x, x / y / 1e9 * factor) for x, y in curve.points if factor],
            [(x, x / high / 1e9 * factor, x / low / 1e9 * factor) for x, low, high in curve.band if factor],
            curve.marks,
        )
        for curve in curves
    ]
    return chart(
        f"busbw by size, {place}", rates,
        x_text=lambda x: format_bytes(int(x)), y_text=format_bandwidth, y_name="busbw",
    )  # fmt: skip


def _legend(curves: Sequence[Curve]) -> str:
    items = "".join(f'<li class="{curve.style}"><i></i>{_text(curve.name)}</li>' for curve in curves if curve.points)
    return (
        f'<ul class="key">{items}</ul><p class="note">Lines: the median of the slowest rank. Bands: from the fastest '
        "call to the 95th percentile. A ring marks a size at which a baseline is faster.</p>"
    )


def _table(rows: Sequence[Row]) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "size",
            "side",
            "p50",
            "p95",
            "min",
            "max",
            "algbw GB/s",
            "busbw GB/s",
            "#wrong",
            "ratio",
            "predicted",
            "bound",
        )
    )
    body = "".join(_line(row) for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _line(row: Row) -> str:
    plan = row["side"] == "plan"
    name = f"plan ({row['engine']})" if plan else f"{row['engine']}, {row['setting']}"
    ratio = row["ratio"]
    lost = ratio is not None and ratio < 1
    said = "–" if ratio is None else f"{_ratio(ratio)}{' slower' if lost and not plan else ''}"
    cells = [
        format_bytes(row["bytes"]) if plan else "",
        name,
        *(format_seconds(row["seconds"][key]) for key in ("p50", "p95", "min", "max")),
        *("–" if row[key] is None else f"{row[key]:.4g}" for key in ("algbw_GBps", "busbw_GBps")),
        "not checked" if row["wrong"] is None else f"{row['wrong']:,}",
        said,
        *(format_seconds(row[f"{key}_seconds"]) if plan else "" for key in ("predicted", "bound")),
    ]
    style = " ".join(word for word, on in (("mine", plan), ("loses", lost), ("wrong", bool(row["wrong"]))) if on)
    return f'<tr class="{style}">{"".join(f"<td>{_text(cell)}</td>" for cell in cells)}</tr>'


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _about(result: Mapping[str, Any]) -> str:
    """Provenance, flat."""
    known = {
        "plan": result["plan"],
        "plan digest": result["digest"],
        "topology": result["topology"],
        "topology digest": result["topology_digest"],
        "timed calls": f"{result['iterations']}, after {result['warmup']} that do not count",
        "buffers": "of comm.empty()" if result["registered"] else "plain arrays",
    }
    lines = [*known.items(), *_flat(result["provenance"])]
    lines += [(f"{name} left out", reason) for name, reason in result["left_out"].items()]
    rows = "".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in lines)
    return f'<section class="card about"><h2>What the figures depend on</h2><table>{rows}</table></section>'


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ") if prefix != "environment " else name
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name} ")
        elif value not in (None, [], ""):
            yield label, " ".join(map(str, value)) if name == "command" else _joined(value)


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
