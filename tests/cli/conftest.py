"""How CLI tests call the command: in this process, or as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from outcome import Call, Outcome

from collsched.cli.main import main


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`call("compile", "dgx-a100")`: the whole command in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return Outcome(stopped.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def spawn(tmp_path: Path) -> Call:
    """`spawn("compile", "dgx-a100")`: a new process, in an empty directory."""

    def run(*arguments: str) -> Outcome:
        command = [sys.executable, "-m", "collsched.cli.main", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
