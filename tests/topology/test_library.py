"""The bundled machines and fabrics: sizes, known optima, shapes."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import lcm

import networkx as nx
import pytest

from collsched.collective import make_collective
from collsched.forest.optimum import optimum
from collsched.forest.problem import problem
from collsched.topology import Topology, bundled, bundled_names, dump_yaml, list_bundled, load_topology, resolve
from collsched.units import exact

SCALES: dict[str, list[dict[str, object]]] = {
    "torus-2d": [{"dims": "4x4"}, {"dims": "8x4"}, {"dims": "32x32"}],
    "torus-3d": [{"dims": "4x4x4"}, {"dims": "8x4x4"}, {"dims": "16x8x8"}],
    "hypercube": [{"dimension": 3}, {"dimension": 4}, {"dimension": 10}],
    "dragonfly": [{"groups": 1}, {"groups": 2}, {"groups": 32}],
    "random-irregular": [{"ranks": 8}, {"ranks": 16}, {"ranks": 1024}],
    "random-switched": [{"ranks": 8}, {"ranks": 16}, {"ranks": 1024}],
    "gb200-nvl72": [{"boxes": 1}, {"boxes": 2}, {"boxes": 15}],
    "mi250": [{"boxes": 1}, {"boxes": 2}, {"boxes": 64}],
}
BOXES: list[dict[str, object]] = [{"boxes": 1}, {"boxes": 2}, {"boxes": 128}]


def _row(name: str, params: dict[str, object]) -> str:
    topology = bundled(name, **params)
    setting = " ".join(f"{key}={value}" for key, value in params.items())
    total = sum((link.bandwidth for link in topology.links), Fraction(0))
    switches = len(topology.nodes) - len(topology.ranks)
    return (
        f"{name:18} {setting:14} {len(topology.ranks):5} ranks {switches:5} switches "
        f"{len(topology.links):6} links {exact(total):>10} GB/s"
    )


def test_sizes(golden):
    rows = [_row(name, params) for name in bundled_names() for params in SCALES.get(name, BOXES)]
    golden.check("\n".join(rows), "library-sizes")


@pytest.mark.parametrize("name", bundled_names())
def test_bundled(name, tmp_path):
    """Connected, symmetric, described, every bandwidth with its source; the explicit form gives it back."""
    topology = bundled(name)
    pairs = {(link.src, link.dst): link.bandwidth for link in topology.links}
    assert all(pairs[dst, src] == rate for (src, dst), rate in pairs.items())
    assert nx.is_strongly_connected(nx.DiGraph(list(pairs)))
    path = tmp_path / "explicit.yaml"
    path.write_text(dump_yaml(topology))
    assert load_topology(path) == topology
    assert all(topology.where(node).startswith(f"{name}.yaml:") for node in range(len(topology.nodes)))


def test_list_bundled():
    found = {entry.name: entry for entry in list_bundled()}
    assert set(found) == set(bundled_names()) and len(found) == 23
    assert found["dgx-a100"].ranks == 16
    assert [parameter.name for parameter in found["mi250"].parameters] == ["boxes", "nic"]
    assert all(entry.description and len(entry.description) <= 80 for entry in found.values())
    assert all(parameter.about for entry in found.values() for parameter in entry.parameters)


def test_resolve_takes_a_file_or_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dgx-a100.yaml").write_text(dump_yaml(bundled("torus-2d")))
    assert resolve("dgx-a100.yaml").name == "torus-2d"
    assert resolve("./dgx-a100.yaml").name == "torus-2d"
    assert resolve("dgx-a100", {"boxes": "3"}).name == "dgx-a100"


def certify(topology: Topology, ratio: Fraction, inside: list[str]) -> None:
    """Proves max |S ∩ ranks| / B⁺(S) = ratio: `inside` attains it, and each rank gets 1 / ratio from all."""
    ids = {node.name: i for i, node in enumerate(topology.nodes)}
    side = {ids[name] for name in inside}
    leaving = sum(link.bandwidth for link in topology.links if link.src in side and link.dst not in side)
    assert Fraction(len(side & set(topology.ranks))) / leaving == ratio
    scale = lcm(ratio.numerator, *(link.bandwidth.denominator for link in topology.links))
    graph: nx.DiGraph[object] = nx.DiGraph()
    for link in topology.links:
        graph.add_edge(link.src, link.dst, capacity=int(link.bandwidth * scale))
    share = int(scale / ratio)
    for rank in topology.ranks:
        graph.add_edge("source", rank, capacity=share)
    for rank in topology.ranks:
        assert nx.maximum_flow_value(graph, "source", rank) == share * len(topology.ranks)


def _but(topology: Topology, *missing: str) -> list[str]:
    return [node.name for node in topology.nodes if not node.name.startswith(missing)]


@pytest.mark.parametrize(
    ("name", "boxes", "ratio", "missing"),
    [
        ("dgx-a100", 1, "7/300", ["gpu7", "box0/gpu7"]),
        ("dgx-a100", 2, "3/65", ["box1/gpu7"]),
        ("dgx-a100", 4, "3/25", ["box3/"]),
        ("mi250", 1, "7/150", ["box0/gcd14", "box0/gcd15"]),
        ("mi250", 2, "15/166", ["box1/gcd14", "box1/gcd15"]),
        ("dgx1-v100", 1, "7/150", ["box0/gpu7"]),
        ("mi300x", 1, "1/64", ["box0/gpu7"]),
    ],
)
def test_known_optimum(name, boxes, ratio, missing):
    topology = bundled(name, boxes=boxes)
    certify(topology, Fraction(ratio), _but(topology, *missing))


def test_optima(golden):
    """The bound of an allgather on every machine at every scale; at small ones, flows that share no code prove it."""
    rows = []
    for name in bundled_names():
        for params in SCALES.get(name, BOXES):
            topology = bundled(name, **params)
            found = optimum(problem(topology, make_collective(topology, "allgather"), reverse=False))
            if len(topology.ranks) <= 16:
                assert found.cut is not None
                certify(topology, found.ratio, [topology.nodes[node].name for node in found.cut.side])
            setting = " ".join(f"{key}={value}" for key, value in params.items())
            rate = float(len(topology.ranks) / found.ratio)
            rows.append(f"{name:18} {setting:14} ratio {found.ratio!s:>9}  algbw {rate:7.2f} GB/s")
    golden.check("\n".join(rows), "library-optima")


def test_dgx1_has_six_links_a_gpu():
    topology = bundled("dgx1-v100", boxes=1)
    out = Counter[int]()
    for link in topology.links:
        out[link.src] += int(link.bandwidth / 25)
    assert set(out.values()) == {6}
    assert Counter(link.bandwidth for link in topology.links) == {25: 16, 50: 16}


def test_mi250_has_seven_links_a_gcd():
    topology = bundled("mi250", boxes=1)
    out = Counter[int]()
    for link in topology.links:
        out[link.src] += int(link.bandwidth / 50)
    assert set(out.values()) == {7}
    assert Counter(int(link.bandwidth / 50) for link in topology.links) == {4: 16, 2: 8, 1: 32}


def test_oversubscription_thins_uplinks():
    for oversubscription in ("1", "2", "1.5"):
        topology = bundled("leaf-spine", boxes=8, oversubscription=oversubscription)
        names = [node.name for node in topology.nodes]
        up = sum(link.bandwidth for link in topology.links if names[link.src] == "leaf0" and "spine" in names[link.dst])
        assert up == 32 * 25 / Fraction(oversubscription)


def test_parameters_take_text_and_numbers():
    assert bundled("torus-2d", dims=(8, 4)) == bundled("torus-2d", dims="8x4")
    assert bundled("mi250", boxes=2, nic=Fraction(25, 2)) == bundled("mi250", boxes="2", nic="12.5 GB/s")
    assert bundled("degraded", degraded="100 Gbit/s") == bundled("degraded")
