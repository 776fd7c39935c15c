"""`collsched verify` and `collsched export` on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plan_edits as edits
import pytest

from collsched.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    edits.small_plan().save(tmp_path / "plan.cs")
    return tmp_path / "plan.cs"


def test_verify_a_right_plan(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", str(plan))
    assert code == 0
    assert "every claim recomputed" in out and edits.small_plan().digest[:16] in out


def test_verify_json(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "verify", str(plan), "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == 0
    assert found["verified"] is True and found["optimal"] is True and found["digest"] == edits.small_plan().digest
    assert found["bound"] == {"ratio": "2/25", "algbw_GBps": 12.5}
    assert (found["transfers"], found["chunks"], found["trees"]) == (2, 1, 1)


def test_verify_a_wrong_plan(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edits.edited(plan, edits.section("forests.0.edges", [1, 0]))
    edits.sign(plan)
    code, out, err = run(capsys, "verify", str(plan))
    assert (code, out) == (1, "") and str(plan) in err and "parents first" in err
    code, out, _ = run(capsys, "verify", str(plan), "--json")
    assert code == 1 and json.loads(out)["verified"] is False


def test_verify_a_damaged_plan(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.write_bytes(plan.read_bytes()[:-1])
    code, out, err = run(capsys, "verify", str(plan))
    assert (code, out) == (2, "") and "cut off" in err


def test_verify_against_a_topology(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "collsched: topology/1\nname: small\nnodes:\n  - {name: a, kind: rank, host: box}\n  - {name: b, kind: rank}\n"
        "  - {name: c, kind: rank}\n  - {name: sw, kind: switch, multicast: true}\nlinks:\n"
    )
    links = "".join(f"  - {{a: {name}, b: sw, bandwidth: 12.5, latency: 1}}\n" for name in "abc")
    (tmp_path / "same.yaml").write_text(text + links)
    (tmp_path / "other.yaml").write_text(text + links.replace("12.5", "13", 1))
    assert run(capsys, "verify", str(plan), "--topology", str(tmp_path / "same.yaml"))[0] == 0
    code, _, err = run(capsys, "verify", str(plan), "--topology", str(tmp_path / "other.yaml"))
    assert code == 1 and "another topology" in err
    assert run(capsys, "verify", str(plan), "--set", "boxes=2")[0] == 2


def test_export(plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_dir = tmp_path / "out"
    command = ("export", str(plan), "--to", "transfers", "-o", str(out_dir), "--size", "1001")
    code, out, _ = run(capsys, *command, "--segments", "4", "--json")
    found = json.loads(out)
    assert code == 0 and (found["transfers"], found["segments"], found["bytes"]) == (8, 4, 1001)
    schedule = json.loads((out_dir / "schedule.json").read_text())
    assert [chunk["bytes"] for chunk in schedule["chunks"]] == [250, 250, 250, 251]
    code, _, err = run(capsys, *command)
    assert code == 2 and "exists" in err
    assert run(capsys, *command, "--force")[0] == 0


@pytest.mark.parametrize("arguments", [["--segments", "0"], ["--size", "many"], ["--segments", "1000000"]])
def test_export_of_nonsense(
    plan: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "export", str(plan), "-o", str(tmp_path / "out"), *arguments)
    assert code == 2 and err.startswith(("error:", "Error:", "Usage:"))
    assert not (tmp_path / "out").exists()
