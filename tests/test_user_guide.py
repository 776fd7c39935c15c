"""The user guide and the README: their files, commands and outputs, run again from top to bottom."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE, TRAINING, README = ROOT / "docs" / "user-guide.md", ROOT / "docs" / "training.md", ROOT / "README.md"
SAVE = re.compile(r"[Ss]ave this as `([^`]+)`")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_prints_what_the_guide_says(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert _replay(GUIDE, tmp_path, request.config.getoption("--update-golden")) >= 10


def test_every_command_prints_what_the_walk_to_a_training_step_says(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert _replay(TRAINING, tmp_path, request.config.getoption("--update-golden")) >= 4


def test_the_readme_shows_a_real_run(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert _replay(README, tmp_path, request.config.getoption("--update-golden")) == 1


def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    commands = re.findall(r"\| `(collsched [^`]+)` \|$", text, re.MULTILINE)
    assert len(commands) >= 10
    guide = GUIDE.read_text(encoding="utf-8")
    (tmp_path / "cluster.yaml").write_text(FENCE.findall(guide)[0][1])
    (tmp_path / "sizes.yaml").write_text("".join(f"box0/gcd{i}: {i % 3}\n" for i in range(16)))
    (tmp_path / "train.py").write_text("import collsched; assert collsched.compile")
    gpu = '<pci busid="{0}" class="0x030200"><gpu dev="{0}" sm="80"><nvlink target="{1}" count="4"/></gpu></pci>'
    host = f'<system><cpu numaid="0">{gpu.format(0, 1)}{gpu.format(1, 0)}</cpu></system>'
    (tmp_path / "topo.xml").write_text(host)
    first = re.search(r"^collsched compile .* -o plan.cs(?= &&)", text, re.MULTILINE)
    assert first is not None
    for command in (first[0], *commands):
        done = _start(shlex.split(command), tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def _replay(page: Path, cwd: Path, update: bool) -> int:
    """Write the files that a page saves, run its `$ commands`, compare (or rewrite) what follows them; their number."""
    text = page.read_text(encoding="utf-8")
    written, last = [], 0
    for block in FENCE.finditer(text):
        kind, body = block.groups()
        named = SAVE.findall(text[last : block.start()])
        if kind == "console" and body.startswith("$ "):
            command, *expected = body.splitlines()
            done = _start(shlex.split(command.removeprefix("$ ")), cwd)
            printed = (done.stdout or done.stderr).splitlines()
            shown = [line.rstrip() for line in printed if line.strip()]
            same = list(map(_steady, shown)) == list(map(_steady, expected))
            assert same or update, command
            written.append((block.span(2), body if same else "".join(f"{line}\n" for line in (command, *shown))))
        elif named:
            (cwd / named[-1]).write_text(body, encoding="utf-8")
        last = block.end()
    if update:
        for (start, end), body in reversed(written):
            text = text[:start] + body + text[end:]
        page.write_text(text, encoding="utf-8")
    return len(written)


def _start(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with this interpreter's own `collsched` and `python`."""
    script = shutil.which("collsched", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert words[0] == "collsched" and script is not None
    command = [script, *(sys.executable if word == "python" else word for word in words[1:])]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def _steady(line: str) -> str:
    """A line with the parts that differ from run to run as `…`."""
    line = re.sub(r"^(time +).*", r"\1…", line)
    line = re.sub(r"\.cs \([^)]*B\)", ".cs (…)", line)
    line = re.sub(r"digest [0-9a-f]+", "digest …", line)
    if re.match(r" +(dtype|float32|─)", line):  # a table, whose widths follow its numbers
        line = re.sub(r"(?<=\S)  +", "  ", re.sub(r"\d[\d.e-]* (ms|µs|s) .*$", "…", line))
        line = re.sub("─+", "─" * 60, line)
    return line
