"""Small plans and the command in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import collsched


def topology_text(ranks: int) -> str:
    nodes = "".join(f"  - {{name: r{i}, kind: rank}}\n" for i in range(ranks))
    links = "".join(f"  - {{a: r{a}, b: r{b}, bandwidth: 10}}\n" for a in range(ranks) for b in range(a))
    return f"collsched: topology/1\nname: memory\nnodes:\n{nodes}links:\n{links}"


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with KIND.cs for every collective on three ranks, and pair.cs, an allreduce on two."""
    folder = tmp_path_factory.mktemp("plans")
    (folder / "three.yaml").write_text(topology_text(3))
    (folder / "two.yaml").write_text(topology_text(2))
    three = collsched.load_topology(folder / "three.yaml")
    for kind in collsched.collective.Kind:
        collsched.compile(three, kind).save(folder / f"{kind}.cs")
    collsched.compile(collsched.load_topology(folder / "two.yaml"), "allreduce").save(folder / "pair.cs")
    return folder
