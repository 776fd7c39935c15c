"""The user guide: its files, commands and outputs, run again from top to bottom."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "docs" / "user-guide.md"
SAVE = re.compile(r"[Ss]ave this as `([^`]+)`")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_prints_what_the_guide_says(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    blocks = list(FENCE.finditer(text))
    written, last = [], 0
    for block in blocks:
        kind, body = block.groups()
        named = SAVE.findall(text[last : block.start()])
        if kind == "console":
            command, *expected = body.splitlines()
            shown = _run(command.removeprefix("$ "), tmp_path)
            written.append((block.span(2), f"{command}\n{shown}"))
            if not request.config.getoption("--update-golden"):
                assert shown.splitlines() == expected, command
        elif named:
            (tmp_path / named[-1]).write_text(body, encoding="utf-8")
        last = block.end()
    assert len(written) >= 10
    if request.config.getoption("--update-golden"):
        for (start, end), body in reversed(written):
            text = text[:start] + body + text[end:]
        GUIDE.write_text(text, encoding="utf-8")


def _run(command: str, cwd: Path) -> str:
    """What a command prints, with the parts that differ from run to run as `…`."""
    words = shlex.split(command)
    words = [sys.executable if word == "python" else word for word in words]
    script = shutil.which("collsched", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert words[0] == "collsched" and script is not None
    done = subprocess.run(
        [script, *words[1:]], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
    return "".join(f"{_steady(line)}\n" for line in lines)


def _steady(line: str) -> str:
    line = re.sub(r"^(time +).*", r"\1…", line)
    line = re.sub(r"\.cs \([^)]*B\)", ".cs (…)", line)
    if re.match(r" +(dtype|float32|─)", line):  # a table, whose widths follow its numbers
        line = re.sub(r"(?<=\S)  +", "  ", re.sub(r"\d[\d.e-]* (ms|µs|s) .*$", "…", line))
        line = re.sub("─+", "─" * 60, line)
    return line
