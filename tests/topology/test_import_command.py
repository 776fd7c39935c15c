"""`collsched topology import`: output, summary, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from import_files import CASES

from collsched.cli.main import main
from collsched.cli.topology import topology_group
from collsched.topology import load_topology


def test_output_and_summary(tmp_path: Path):
    given, written = tmp_path / "topo.xml", tmp_path / "box.yaml"
    given.write_text(CASES["nccl"].text)
    shown = CliRunner().invoke(topology_group, ["import", str(given), "-o", str(written), "--json"])
    assert shown.exit_code == 0
    summary = json.loads(shown.output)
    assert summary["ranks"] == 2 and summary["output"] == str(written)
    assert summary["formats"] == ["NCCL or RCCL topology XML"]
    printed = CliRunner().invoke(topology_group, ["import", str(given)])
    assert printed.output == written.read_text()
    assert len(load_topology(written).ranks) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["box.yaml", "topo.xml"]


@pytest.mark.parametrize("output", ["missing/box.yaml", "."])
def test_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str):
    given = tmp_path / "topo.xml"
    given.write_text(CASES["nccl"].text)
    with pytest.raises(SystemExit) as stopped:
        main(["topology", "import", str(given), "-o", str(tmp_path / output)])
    assert stopped.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


def test_every_option_reaches_the_importer(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, case in CASES.items():
        path = tmp_path / name
        path.write_text(case.text)
        words = [word for key, value in case.given.items() for word in (f"--{key}", value) if word]
        with pytest.raises(SystemExit) as stopped:
            main(["topology", "import", str(path), "--json", *words])
        assert stopped.value.code == 0
        assert json.loads(capsys.readouterr().out)["ranks"] == case.size[0]


def test_missing_values_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "topo.xml"
    path.write_text(CASES["cloud"].text)
    with pytest.raises(SystemExit) as stopped:
        main(["topology", "import", str(path)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "--nvlinks" in error and f"collsched topology import {path} --nvlinks 12 --nvlink-rate 25" in error
