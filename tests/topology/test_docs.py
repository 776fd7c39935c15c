"""docs/topologies.md: its examples run, its tables are complete."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from collsched.topology import list_bundled, load_topology
from collsched.topology.families import FAMILIES

DOCS = Path(__file__).parents[2] / "docs" / "topologies.md"
TEXT = DOCS.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n\*(\d+) ranks, (\d+) switch(?:es)?, (\d+) links\.\*", TEXT, re.DOTALL)


def test_every_example_says_what_it_gives():
    assert len(EXAMPLES) == TEXT.count("```yaml") >= 6


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(example, tmp_path):
    text, *counts = example
    header = "" if text.startswith("collsched:") else "collsched: topology/1\nname: example\n"
    path = tmp_path / "example.yaml"
    path.write_text(header + text, encoding="utf-8")
    topology = load_topology(path)
    switches = len(topology.nodes) - len(topology.ranks)
    assert [len(topology.ranks), switches, len(topology.links)] == [int(count) for count in counts]


def test_python_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, str(DOCS), "exec"), {})
    assert (tmp_path / "fabric.yaml").exists()


def test_table_of_bundled_topologies():
    for entry in list_bundled():
        parameters = " ".join(f"`{p.name}={p.show(p.default)}`" for p in entry.parameters)
        assert f"| `{entry.name}` | {parameters} | {entry.description} |\n" in TEXT


def test_table_of_families():
    for kind, family in FAMILIES.items():
        arguments = re.findall(rf"^\| `{kind}` \| (.*?) \|", TEXT, re.MULTILINE)[0]
        declared = {field.name for field in fields(family)} - {"latency"}
        assert set(re.findall(r"`(\w+)`", arguments)) == declared, kind
