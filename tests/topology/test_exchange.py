"""Topologies to text and to networkx, and back."""

from __future__ import annotations

from fractions import Fraction

import networkx as nx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from collsched.errors import TopologyError
from collsched.topology import Link, Node, Topology, bundled, dump_yaml, from_networkx, load_topology, to_networkx
from collsched.topology.builder import Builder
from collsched.topology.document import Source
from collsched.topology.reader import read_topology

# Any visible text without surrounding spaces; names that YAML or the patterns treat specially turn up often.
visible = st.one_of(
    st.sampled_from(
        [
            "no",
            "null",
            "~",
            "1.50",
            "0x1F",
            "a: b",
            "- a",
            "#",
            "[0..7]",
            "]",
            "{x}",
            "é",
            "𝔾",
            "*a",
            "&a",
            "!t",
            "'",
            '"',
        ]
    ),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
        lambda text: text == text.strip() and text.isprintable()
    ),
)
rates = st.fractions(min_value=Fraction(1, 1000), max_value=10000, max_denominator=1000)
latencies = st.fractions(min_value=0, max_value=1000, max_denominator=1000)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    names = draw(st.lists(visible, min_size=1, max_size=6, unique=True))
    nodes = [Node(names[0], "rank")]
    for name in names[1:]:
        places = [draw(st.none() | visible) for _ in range(3)]
        if draw(st.booleans()):
            nodes.append(Node(name, "rank", *places))
        else:
            nodes.append(Node(name, "switch", *places, draw(st.booleans()), draw(st.booleans())))
    pairs = [(a, b) for a in range(len(nodes)) for b in range(len(nodes)) if a != b]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12)) if pairs else []
    return Topology(draw(visible), tuple(nodes), tuple(Link(a, b, draw(rates), draw(latencies)) for a, b in chosen))


@given(topologies())
def test_yaml_reads_back(topology):
    assert read_topology(dump_yaml(topology), Source("dumped.yaml"), {}) == topology


@given(topologies())
def test_networkx_reads_back(topology):
    again = from_networkx(to_networkx(topology))
    assert (again.name, again.nodes) == (topology.name, topology.nodes)
    assert set(again.links) == set(topology.links)


def test_without_libyaml(monkeypatch):
    text = dump_yaml(bundled("dgx-a100"))
    fast = read_topology(text, Source("t.yaml"), {})
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read_topology(text, Source("t.yaml"), {}) == fast
    with pytest.raises(TopologyError, match=r"t\.yaml:3: not YAML"):
        read_topology("collsched: topology/1\nname: t\nnodes: [}\n", Source("t.yaml"), {})


def test_from_undirected_multigraph():
    graph = nx.MultiGraph(name="pair")
    graph.add_edge(0, 1, bandwidth=12.5)
    graph.add_edge(0, 1, bandwidth="100 Gbit/s", latency=2)
    graph.add_edge(1, "sw", bandwidth=Fraction(1, 3), latency="500 ns")
    graph.nodes["sw"].update(kind="switch", plane="p")
    topology = from_networkx(graph)
    assert [node.name for node in topology.nodes] == ["0", "1", "sw"]
    assert [node.kind for node in topology.nodes] == ["rank", "rank", "switch"]
    assert topology.links[0] == Link(0, 1, Fraction(25), Fraction(2))
    assert topology.links[3] == Link(2, 1, Fraction(1, 3), Fraction(1, 2))


def test_from_directed_graph_keeps_directions():
    graph = nx.DiGraph([("a", "b", {"bandwidth": 3})])
    assert from_networkx(graph).links == (Link(0, 1, Fraction(3), Fraction(1)),)


@pytest.mark.parametrize(
    ("edges", "attributes", "message"),
    [
        ([(0, 1, {})], {}, "edge 0 – 1 has no bandwidth; allowed is a number in GB/s or text"),
        ([(0, 1, {"bandwidth": 0})], {}, "edge 0 – 1: bandwidth '0' is not positive; allowed is more than 0"),
        ([(0, 1, {"bandwidth": float("inf")})], {}, "edge 0 – 1: 'inf' is not finite; allowed is a finite number"),
        ([(0, 1, {"bandwidth": 1, "latency": -1})], {}, "latency '-1' is negative; allowed is 0 or more"),
        ([(0, 0, {"bandwidth": 1})], {}, "link from '0' to itself"),
        ([(0, "0", {"bandwidth": 1})], {}, "duplicate node '0'; allowed is each name once"),
        ([(0, 1, {"bandwidth": 1})], {0: "gpu"}, "node '0' has kind 'gpu'; allowed are rank and switch"),
        ([], {}, "no node is a rank; allowed is at least one"),
    ],
)
def test_bad_graphs(edges, attributes, message):
    graph = nx.Graph(edges)
    nx.set_node_attributes(graph, attributes, "kind")
    with pytest.raises(TopologyError) as caught:
        from_networkx(graph)
    assert str(caught.value).startswith("graph 'graph': ") and message in str(caught.value)


def test_limits(monkeypatch):
    monkeypatch.setattr("collsched.topology.builder.MAX_NODES", 3)
    monkeypatch.setattr("collsched.topology.builder.MAX_LINKS", 1)
    builder = Builder()
    for name in "abc":
        builder.node(name, "rank")
    with pytest.raises(Exception, match="more than 3 nodes; allowed are no more"):
        builder.node("d", "rank")
    builder.link(0, 1, Fraction(1), Fraction(1))
    builder.link(0, 1, Fraction(1), Fraction(1))
    with pytest.raises(Exception, match="more than 1 links; allowed are no more"):
        builder.link(1, 0, Fraction(1), Fraction(1))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + dump_yaml(bundled("torus-2d")).encode())
    assert load_topology(path) == bundled("torus-2d")
