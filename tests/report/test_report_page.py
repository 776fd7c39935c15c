"""The page: whole, self-contained, and full of the right numbers; no browser needed."""

from __future__ import annotations

import base64
import json
import re
import zlib
from fractions import Fraction
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

import collsched
from collsched.report.motion import predicted, simulated
from collsched.report.page import page
from collsched.report.payload import FULL, TICKS, Story, Table, payload
from collsched.topology import Link, Node, Topology, resolve

SIZE = 1 << 24


def unpacked(text: str) -> dict[str, Any]:
    """The data that a page holds."""
    found = re.search(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]+)</script>', text)
    assert found is not None
    value = json.loads(zlib.decompress(base64.b64decode(found[1])))
    assert isinstance(value, dict)
    return value


def _story(plan: collsched.Plan, *, closed: bool = False) -> Story:
    motion = predicted(plan, SIZE) if closed else simulated(plan, SIZE, 2)
    cuts = [(optimum.cut, False) for optimum in plan.bound if optimum.cut is not None]
    table = Table("simulated", (1 << 20, SIZE), {"plan": [1e-5, 2e-5], "ring": [2e-5, 3e-5]})
    return Story(plan, SIZE, motion, "allgather", [("bound", "1 GB/s", "")], ["A sentence"], cuts, ["A note"], table)


class _Tags(HTMLParser):
    """Every start tag, and whether tags are closed in order."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href"):
                self.addresses.append(str(value))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("name", ["dgx-a100", "torus-2d", "mi250", "leaf-spine"])
def test_the_page_holds_the_plan(name: str, closed: bool) -> None:
    topology = resolve(name, {})
    plan = collsched.compile(topology, "allgather")
    text = page(payload(topology, _story(plan, closed=closed)))
    tags = _Tags()
    tags.feed(text)
    assert not tags.open and len(tags.ids) == len(set(tags.ids))
    assert tags.addresses == ["data:,"]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text
    for used in re.findall(r'\$\("(\w+)"\)', text):
        assert used in tags.ids or used == "guide", used
    data = unpacked(text)
    links, nodes = len(topology.links), len(topology.nodes)
    assert data["fabric"]["ranks"] == len(topology.ranks)
    assert [len(data["links"][key]) for key in ("src", "dst", "wire", "back", "kind")] == [links] * 5
    assert len(data["nodes"]["box"]) == 4 * nodes and max(data["nodes"]["rank"]) == len(topology.ranks) - 1
    drawn = data["plan"]
    rates = base64.b64decode(drawn["motion"]["rates"])
    assert len(rates) == links * drawn["motion"]["bins"] and 0 < max(rates) <= FULL
    assert drawn["motion"]["arrived"][-1] == 1000 == max(drawn["motion"]["arrived"])
    assert drawn["motion"]["arrived"] == sorted(drawn["motion"]["arrived"])
    assert max(drawn["shares"]) == 1000
    assert sorted(link for group in drawn["groups"] for link in group["links"]) == list(range(links))
    for journey in drawn["journeys"]:
        assert len(journey["times"]) == 4 * len(journey["routes"]) and max(journey["times"]) <= TICKS
        for route in journey["routes"]:
            ends = drawn["routes"][route]
            assert all(topology.links[a].dst == topology.links[b].src for a, b in pairwise(ends))
    (cut,) = drawn["cuts"]
    exits = sum((topology.links[link].bandwidth for link in cut["links"]), Fraction(0))
    assert plan.bound[0].cut is not None and exits == plan.bound[0].cut.exit_bandwidth


def test_equal_plans_make_equal_pages() -> None:
    topology = resolve("dgx-a100", {})
    one, two = (page(payload(topology, _story(collsched.compile(topology, "allgather")))) for _ in range(2))
    assert one == two


def test_names_are_text_and_nothing_else() -> None:
    evil = '</script><script>alert("x")</script><img src=x>'
    nodes = (Node(f"{evil}0", "rank", host=evil), Node(f"{evil}1", "rank", host=evil))
    links = (Link(0, 1, Fraction(1)), Link(1, 0, Fraction(1)))
    topology = Topology(evil, nodes, links)
    plan = collsched.compile(topology, "allgather")
    text = page(payload(topology, _story(plan)))
    assert text.count("<script") == 2 and "<img" not in text
    assert unpacked(text)["nodes"]["name"][0] == f"{evil}0"


def test_a_fabric_alone_and_a_plan_that_moves_nothing() -> None:
    topology = resolve("dgx1-v100", {})
    assert unpacked(page(payload(topology)))["plan"] is None
    plan = collsched.compile(topology, "allgather", group="0")
    data = payload(topology, _story(plan))
    assert data["plan"]["journeys"] == [] and data["plan"]["cuts"] == [] and data["plan"]["motion"]["seconds"] == 0
    page(data)


def test_a_thousand_ranks_fit_into_a_small_page() -> None:
    topology = resolve("dgx-a100", {"boxes": "128"})
    assert len(page(payload(topology))) < 200_000
