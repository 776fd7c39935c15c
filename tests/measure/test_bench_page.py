"""The page of a benchmark: whole in itself, with every figure and every loss."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from samples_given import messages

import collsched
from collsched.bench.ranks import Job
from collsched.bench.sweep import Sweep
from collsched.cli._bench import Report
from collsched.report.chart import Curve, chart
from collsched.report.measured import measured_page


@pytest.fixture(params=[True, False], ids=["wins", "loses"])
def wins(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def result(plans: Any, wins: bool) -> dict[str, Any]:
    plan = collsched.Plan.load(plans / "pair.cs")
    report = Report("<plan>.cs", Job(plan, "shm", ("auto",), Sweep((1024, 16384), iterations=5)), quiet=True)
    for message in messages(wins):
        report.take(message)
    return report.as_json()


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_asks_nothing_of_the_network(result: dict[str, Any]) -> None:
    page = measured_page(result)
    reader = read(page)
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "iframe", "img", "object", "embed"}
    assert [attributes for tag, attributes in reader.tags if tag == "link"] == [{"rel": "icon", "href": "data:,"}]
    assert not any("src" in attributes for _, attributes in reader.tags)
    assert not re.search(r"url\(|@import|https?://", page)


def test_every_row_is_there(result: dict[str, Any]) -> None:
    rows = [a for tag, a in read(measured_page(result)).tags if tag == "tr"]
    assert sum("mine" in (a.get("class") or "") for a in rows) == sum(row["side"] == "plan" for row in result["rows"])
    assert "Some MPI 1.0" in measured_page(result)


def test_losses_are_marked_where_they_are(result: dict[str, Any], wins: bool) -> None:
    reader = read(measured_page(result))
    rings = [a for tag, a in reader.tags if tag == "circle" and a.get("class") == "lost"]
    lost = [row for row in result["rows"] if row["side"] == "plan" and row["ratio"] < 1]
    assert len(rings) == 2 * len(lost)  # in the curves of time and of busbw
    assert bool(lost) == (not wins)
    notes = [a for tag, a in reader.tags if tag == "li" and a.get("class") == "loses"]
    assert bool(notes) == bool(lost)


def test_names_are_text_not_markup(result: dict[str, Any]) -> None:
    page = measured_page(result)
    assert "<plan>" not in page
    assert "&lt;plan&gt;.cs" in page
    assert "<tuned>" not in page


def test_points_lie_where_their_values_are() -> None:
    svg = chart("t", [Curve("c", "plan", [(1, 1.0), (10, 10.0), (100, 100.0)])],
                x_text=str, y_text=str, y_name="y")  # fmt: skip
    points = [(float(x), float(y)) for x, y in re.findall(r'<circle class="point" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y1 > y2


def test_one_size_and_no_curve() -> None:
    assert "circle" in chart("t", [Curve("c", "plan", [(8, 2.0)])], x_text=str, y_text=str, y_name="y")
    assert chart("t", [Curve("c", "plan", [])], x_text=str, y_text=str, y_name="y") == ""
