"""Families: degrees, counts, capacities."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import networkx as nx
import pytest

from collsched.topology import Topology, load_topology, to_networkx


@pytest.fixture
def build(tmp_path):
    def from_arguments(**arguments: object) -> Topology:
        path = tmp_path / "family.yaml"
        lines = [f"  {key}: {value}" for key, value in arguments.items()]
        path.write_text("\n".join(["collsched: topology/1", "name: t", "family:", *lines]) + "\n")
        return load_topology(path)

    return from_arguments


def degrees(topology: Topology) -> Counter[int]:
    return Counter(Counter(link.src for link in topology.links).values())


@pytest.mark.parametrize(
    ("dims", "wrap", "expected"),
    [
        ("4x4", 1, {4: 16}),
        ("4x4x4", 1, {6: 64}),
        ("8", 1, {2: 8}),
        ("2x2", 1, {2: 4}),
        ("3x1", 1, {2: 3}),
        ("4x4", 0, {2: 4, 3: 8, 4: 4}),
        ("2x3x4", 1, {5: 24}),
    ],
)
def test_torus(build, dims, wrap, expected):
    topology = build(kind="torus", dims=dims, bandwidth="50", wrap=wrap)
    assert degrees(topology) == expected
    assert {link.bandwidth for link in topology.links} == {50}


def test_torus_is_the_grid_graph(build):
    extents = (3, 4, 5)
    grid = nx.grid_graph(extents[::-1], periodic=True)
    ours = to_networkx(build(kind="torus", dims="3x4x5", bandwidth="50")).to_undirected()
    label = {f"rank{(x * 4 + y) * 5 + z}": (x, y, z) for x in range(3) for y in range(4) for z in range(5)}
    assert {frozenset(edge) for edge in nx.relabel_nodes(ours, label).edges} == {frozenset(edge) for edge in grid.edges}


def test_hypercube(build):
    topology = build(kind="hypercube", dimension=5, bandwidth="50")
    assert degrees(topology) == {5: 32}
    assert all((link.src ^ link.dst).bit_count() == 1 for link in topology.links)
    assert len(build(kind="hypercube", dimension=0, bandwidth="50").ranks) == 1


def uplink(topology: Topology, low: str, high: str) -> Fraction:
    """The bandwidth from nodes whose name begins with `low` to those with `high`."""
    name = [node.name for node in topology.nodes]
    pairs = ((name[link.src], name[link.dst], link.bandwidth) for link in topology.links)
    return sum((rate for src, dst, rate in pairs if low in src and high in dst), Fraction(0))


def test_leaf_spine(build):
    topology = build(kind="leaf-spine", ranks=16, per_leaf=4, spines=2, bandwidth=25, oversubscription=2)
    assert uplink(topology, "rank", "leaf") == 400
    assert uplink(topology, "leaf", "spine") == uplink(topology, "spine", "leaf") == 200
    assert len(topology.nodes) == 16 + 4 + 2
    assert len(build(kind="leaf-spine", ranks=4, per_leaf=4, spines=2, bandwidth=25).nodes) == 5


def test_fat_tree(build):
    """The 4-ary fat tree: 16 ranks, 8 + 8 + 4 switches, full bandwidth at every tier."""
    shape = {"kind": "fat-tree", "per_edge": 2, "edges": 2, "aggregations": 2, "cores": 4, "bandwidth": 10}
    topology = build(ranks=16, **shape)
    assert len(topology.nodes) - 16 == 20
    assert uplink(topology, "rank", "edge") == uplink(topology, "edge", "aggregation") == 160
    assert uplink(topology, "aggregation", "core") == uplink(topology, "core", "aggregation") == 160
    assert degrees(topology) == {1: 16, 4: 20}
    thin = build(ranks=16, **shape, oversubscription=2, core_oversubscription=2)
    assert uplink(thin, "edge", "aggregation") == 80 and uplink(thin, "aggregation", "core") == 40
    assert len(build(ranks=4, **shape).nodes) == 4 + 2 + 2 and len(build(ranks=2, **shape).nodes) == 2 + 1


def test_rail(build):
    alone = build(kind="rail", rails=4, ranks=16, bandwidth=50)
    assert len(alone.nodes) == 20 and nx.number_weakly_connected_components(to_networkx(alone)) == 4
    joined = build(kind="rail", rails=4, ranks=16, bandwidth=50, spines=2)
    assert uplink(joined, "rail", "spine") == 800
    assert {node.rail for node in joined.nodes if node.name.startswith("rail")} == {"rail0", "rail1", "rail2", "rail3"}


@pytest.mark.parametrize(("groups", "rounds"), [(2, 32), (9, 4), (33, 1), (20, 1)])
def test_dragonfly(build, groups, rounds):
    """Every pair of groups has the same number of global links, and no router more than its ports."""
    topology = build(
        kind="dragonfly", ranks=groups * 32, per_router=4, routers=8, global_links=4,
        bandwidth=25, local_bandwidth=20, global_bandwidth=10,
    )  # fmt: skip
    group = {node: data.name.split("/")[0] for node, data in enumerate(topology.nodes) if data.kind == "switch"}
    between, ports = Counter[frozenset[str]](), Counter[int]()
    for link in topology.links:
        if link.src in group and link.dst in group and group[link.src] != group[link.dst]:
            between[frozenset((group[link.src], group[link.dst]))] += int(link.bandwidth / 10)
            ports[link.src] += int(link.bandwidth / 10)
    assert len(between) == groups * (groups - 1) // 2 and set(between.values()) == {2 * rounds}
    assert max(ports.values()) <= 4
    if groups == 33:
        assert set(ports.values()) == {4}


def test_random_graphs_follow_the_seed(build):
    irregular = {"kind": "random-irregular", "ranks": 50, "degree": 4, "bandwidth": 10}
    assert build(**irregular, seed=1) == build(**irregular, seed=1) != build(**irregular, seed=2)
    assert len(build(**irregular).links) == 200
    assert {link.bandwidth for link in build(**irregular).links} == {10, 20, 30, 40}
    switched = build(kind="random-switched", ranks=30, switches=7, degree=3, bandwidth=10, trunk=20, seed=3)
    assert nx.is_strongly_connected(to_networkx(switched))
    for ranks in (1, 2, 3):
        assert len(build(kind="random-irregular", ranks=ranks, degree=6, bandwidth=1).ranks) == ranks


def test_attach(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(
        'collsched: topology/1\nname: t\nnodes:\n  - {name: "chip[0..1]-[0..2]", kind: rank}\n'
        'family: {kind: torus, attach: "chip[0..1]-[0..2]", dims: 2x3, bandwidth: 5}\n'
    )
    topology = load_topology(path)
    assert to_networkx(topology).has_edge("chip0-1", "chip1-1") and not to_networkx(topology).has_edge(
        "chip0-1", "chip1-0"
    )
    path.write_text(path.read_text().replace("2x3", "2x2"))
    with pytest.raises(Exception, match="'attach' names 6 nodes; allowed are the 4 of this shape"):
        load_topology(path)
