"""`collsched show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outcome import Call


@pytest.fixture
def compiled(call: Call) -> Call:
    assert call("compile", "dgx-a100", "-c", "allgather", "--size", "1MiB", "-o", "plan.cs").code == 0
    return call


def test_a_fabric_in_the_terminal(call: Call) -> None:
    out = call("show", "leaf-spine", "--set", "boxes=8").out
    assert "━━ spine[0-3]" in out and "━━ leaf[0-1]" in out and "64 × gpu ↔ leaf 25 GB/s" in out
    assert "box[0-7]: 8 hosts, each 8 × gpu, nvswitch" in out
    assert "─  0 ──  1 ──  2 ──  3 ─" in call("show", "torus-2d").out
    found = call("show", "torus-3d", "--json").json()
    assert found["grid"] == {"dims": [4, 4, 4], "wrap": [True, True, True]} and found["ranks"] == 64


def test_a_plan_in_the_terminal(compiled: Call) -> None:
    out = compiled("show", "plan.cs").out
    for text in ("trees  ", "one of them", "└─ ", "load  ", "gpu ↔ ib 25 GB/s", "simulated", "15 of 16 shards"):
        assert text in out, text
    found = compiled("show", "plan.cs", "--json").json()
    assert found["collective"] == "allgather" and found["time"]["bytes"] == 1 << 20
    assert max(load["max"] for load in found["loads"]) == pytest.approx(1)
    assert sum(kind["copies"] for kind in found["trees"]) == 16 * 13
    simulated = compiled("simulate", "plan.cs", "--size", "1MiB", "--json").json()["rows"][0]
    assert found["time"]["seconds"] == pytest.approx(simulated["seconds"])


def test_a_page_and_a_trace(compiled: Call) -> None:
    found = compiled(
        "show", "plan.cs", "--html", "plan.html", "--trace", "plan.json", "--size", "64KiB", "--json"
    ).json()
    assert found["html"] == "plan.html" and found["time"]["bytes"] == 65536
    assert Path("plan.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(Path("plan.json").read_text(encoding="utf-8"))["displayTimeUnit"] == "ns"
    outcome = compiled("show", "mi250", "--html", "plan.html")
    assert outcome.code == 0 and "page         plan.html (" in outcome.out


def test_a_large_plan_is_predicted_unless_asked(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("compile", "torus-2d", "-o", "plan.cs")
    monkeypatch.setattr("collsched.cli._show.SIMULATED", 100)
    found = call("show", "plan.cs", "--html", "plan.html", "--json").json()
    predicted = call("compile", "torus-2d", "--force", "-o", "plan.cs", "--json").json()["predicted"]
    assert found["time"]["source"] == "predicted"
    assert found["time"]["seconds"] == pytest.approx(predicted["seconds"])
    found = call("show", "plan.cs", "--simulate", "--json").json()
    assert found["time"]["source"] == "simulated"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none",), "none"),
        (("dgx-a100", "--trace", "x.json"), "--trace does not apply to a topology"),
        (("dgx-a100", "--size", "1MiB"), "--size does not apply"),
        (("plan.cs", "--set", "boxes=2"), "--set does not apply to a plan"),
        (("plan.cs", "--html", "plan.cs"), "is a plan; allowed is a file"),
        (("plan.cs", "--html", "."), "is a directory"),
        (("plan.cs", "--html", "none/x.html"), "cannot be written"),
        (("plan.cs", "--size", "x"), "x"),
    ],
)
def test_bad_input(compiled: Call, arguments: tuple[str, ...], message: str) -> None:
    outcome = compiled("show", *arguments)
    assert outcome.code == 2 and message in outcome.err and outcome.err.splitlines()[-1].startswith("error: ")


def test_one_rank_has_nothing_to_show(call: Call) -> None:
    call("compile", "dgx-a100", "-c", "allgather", "--group", "0", "-o", "alone.cs")
    outcome = call("show", "alone.cs", "--html", "alone.html", "--trace", "alone.json")
    assert outcome.code == 0, outcome.err
    assert "nothing has to move" in outcome.out
