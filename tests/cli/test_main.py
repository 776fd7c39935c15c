"""The frame of the command line: help, versions, exit codes, start-up."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import collsched
from collsched.cli.main import VERBS, cli


def test_help_loads_neither_numpy_nor_rich(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom collsched.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'numpy', 'rich', 'networkx', 'yaml', 'collsched._core'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(call, verb: str) -> None:
    done = call(verb, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: collsched {verb}")
    command = cli.get_command(None, verb)
    assert command is not None and command.name == verb


def test_version(call) -> None:
    assert collsched.__version__ in call("--version").out


@pytest.mark.parametrize("arguments", [["explode"], ["compile"], ["compile", "dgx-a100", "--frobnicate"], ["--nope"]])
def test_wrong_usage_exits_with_2(call, arguments: list[str]) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert "Usage:" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("command", ["topology show dgx-a100 --set boxes=256", "topology list"])
@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_a_reader_that_leaves_gets_no_complaint(tmp_path: Path, command: str, reader: str) -> None:
    line = f"{sys.executable} -m collsched.cli.main {command} | {reader}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.count("\n") <= 1
    assert done.stderr == ""


def test_an_interrupt_ends_without_a_traceback(call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("collsched.topology.resolve", interrupted)
    done = call("compile", "dgx-a100")
    assert (done.code, done.out, done.err.strip()) == (130, "", "interrupted")


def test_no_memory_is_said_in_a_sentence(call, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("collsched.topology.resolve", exhausted)
    done = call("compile", "dgx-a100")
    assert done.code == 3 and done.err.startswith("error: not enough memory")


def test_colours_only_on_a_terminal_that_wants_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "collsched.cli.main", "explain", "dgx-a100"]
    assert b"\x1b[" in _on_a_terminal(command, tmp_path, {})
    assert b"\x1b[36m" not in _on_a_terminal(command, tmp_path, {"NO_COLOR": "1"})


@pytest.mark.parametrize("columns", [40, 80])
def test_rows_fit_the_terminal(tmp_path: Path, columns: int) -> None:
    command = [sys.executable, "-m", "collsched.cli.main", "explain", "mi250", "--set", "boxes=2"]
    shown = _on_a_terminal(command, tmp_path, {"COLUMNS": str(columns), "NO_COLOR": "1"}).decode()
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip("\r") for line in shown.split("\n")]
    assert max(map(len, lines)) <= columns


def _on_a_terminal(command: list[str], cwd: Path, environment: dict[str, str]) -> bytes:
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment = {**inherited, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux reports the end of a terminal so
                break
            if not part:
                break
            shown += part
        assert process.wait(timeout=30) == 0
    os.close(ours)
    return shown
