"""Every mistake in a topology file has a message with file, line, what was found, what is allowed, how to mend it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mistakes import MISTAKES

from collsched.errors import TopologyError
from collsched.topology import bundled, load_topology, resolve

VOICE = re.compile(r"bad\.yaml:\d+: .+; allowed .+; .+", re.DOTALL)


def _message(directory: Path, content: str | bytes) -> str:
    path = directory / "bad.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(TopologyError) as caught:
        load_topology(path)
    return str(caught.value).replace(f"{directory}/", "")


def _shown(content: str | bytes) -> str:
    text = content.decode("latin-1") if isinstance(content, bytes) else content
    lines = [line if len(line) <= 100 else line[:99] + "…" for line in text.splitlines()]
    return "\n".join(f"    {line!r}" if not line.isprintable() else f"    {line}" for line in lines)


def test_messages(tmp_path, golden):
    shown = []
    for name, content in MISTAKES.items():
        message = _message(tmp_path, content)
        assert VOICE.fullmatch(message), (name, message)
        assert "\n" not in message, name
        shown.append(f"# {name}\n{_shown(content)}\n{message}\n")
    golden.check("\n".join(shown), "topology-mistakes")


def test_messages_are_distinct(tmp_path):
    messages = [_message(tmp_path, content).split(": ", 1)[1] for content in MISTAKES.values()]
    assert len(set(messages)) >= 90


def test_without_a_line(tmp_path, golden, monkeypatch):
    """What is wrong with the file itself, with a name, or with a parameter."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    attempts = {
        "missing file": lambda: load_topology("nothing.yaml"),
        "a directory": lambda: load_topology("folder.yaml"),
        "a null in the path": lambda: load_topology("a\0b.yaml"),
        "unknown name": lambda: resolve("dgx-a10"),
        "unknown name, nothing near": lambda: resolve("zzz"),
        "unknown parameter": lambda: bundled("dgx-a100", box=4),
        "parameter out of range": lambda: bundled("dgx-a100", boxes=0),
        "parameter not whole": lambda: bundled("dgx-a100", boxes="2.5"),
        "parameter not a number": lambda: bundled("dgx-a100", boxes="many"),
        "parameter not a bandwidth": lambda: bundled("mi250", nic="16 parsecs"),
        "parameter not a grid": lambda: bundled("torus-2d", dims="4,4"),
    }
    shown = []
    for name, attempt in attempts.items():
        with pytest.raises(TopologyError) as caught:
            attempt()
        shown.append(f"# {name}\n{caught.value}\n")
    golden.check("\n".join(shown), "topology-mistakes-elsewhere")


def test_too_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr("collsched.topology.document.MAX_FILE_BYTES", 10)
    path = tmp_path / "large.yaml"
    path.write_text("collsched: topology/1\n")
    with pytest.raises(TopologyError, match=r"has 22 bytes; allowed are 10; use the compact form"):
        load_topology(path)
