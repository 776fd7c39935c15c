"""The compact form expands to exactly the explicit form."""

from __future__ import annotations

from fractions import Fraction

import pytest

from collsched.errors import InputError
from collsched.topology import Topology, load_topology
from collsched.topology.expression import parse as parse_expression
from collsched.topology.pattern import escape, parse_pattern


@pytest.fixture
def load(tmp_path):
    """Loads a topology from its sections; the header is added."""

    def from_text(text: str, **params: object) -> Topology:
        path = tmp_path / "topo.yaml"
        path.write_text("collsched: topology/1\nname: t\n" + text)
        return load_topology(path, params)

    return from_text


def names(topology: Topology) -> list[str]:
    return [node.name for node in topology.nodes]


def links(topology: Topology) -> dict[tuple[str, str], Fraction]:
    name = names(topology)
    return {(name[link.src], name[link.dst]): link.bandwidth for link in topology.links}


FOUR = 'nodes:\n  - {name: "gpu[0..3]", kind: rank}\n'


def test_explicit_example(load):
    topology = load(
        """
nodes:
  - {name: gpu0, kind: rank}
  - {name: sw0, kind: switch, multicast: true, reduce: true, plane: left}
links:
  - {src: gpu0, dst: sw0, bandwidth: 300, latency: 1.0}
  - {src: sw0, dst: gpu0, bandwidth: 300 GB/s, latency: 700 ns}
  - {a: gpu0, b: sw0, bandwidth: "2400 Gbit/s", count: 2, latency: 0.5}
"""
    )
    assert links(topology) == {("gpu0", "sw0"): 900, ("sw0", "gpu0"): 900}
    assert [link.alpha for link in topology.links] == [1, Fraction(7, 10)], "the larger latency stays"
    assert topology.nodes[1].multicast and topology.nodes[1].reduce and topology.nodes[1].plane == "left"


def test_latency_is_one_microsecond_by_default(load):
    assert load(FOUR + "links:\n  - {a: gpu0, b: gpu1, bandwidth: 1}\n").links[0].alpha == 1


@pytest.mark.parametrize(
    ("a", "b", "pairs"),
    [
        ("gpu[i=0..3]", "gpu[(i+1) % 4]", {(0, 1), (1, 2), (2, 3), (3, 0)}),
        ("gpu[i=0..3]", "gpu[i+1..3]", {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}),
        ("gpu[0]", "gpu[1,3]", {(0, 1), (0, 3)}),
        ("gpu[i=0,1]", "gpu[i + 2]", {(0, 2), (1, 3)}),
        ("gpu[i=0..3]", "gpu[0..i-1, i+1..3]", {(i, j) for i in range(4) for j in range(4) if i != j}),
        ("gpu[i = 0..1]", "gpu[max(2, i), 3]", {(0, 2), (0, 3), (1, 2), (1, 3)}),
    ],
)
def test_link_patterns(load, a, b, pairs):
    topology = load(FOUR + f'links:\n  - {{src: "{a}", dst: "{b}", bandwidth: 5}}\n')
    assert links(topology) == {(f"gpu{i}", f"gpu{j}"): 5 for i, j in pairs}


def test_hosts_from_templates(load):
    topology = load(
        """
parameters:
  boxes: {default: 2, min: 1, max: 9}
  nic: {default: 12.5 GB/s, kind: bandwidth}
let:
  last: boxes - 1
templates:
  box:
    nodes:
      - {name: "gpu[g=0..1]", kind: rank, rail: "rail[g]"}
    links:
      - {a: gpu0, b: gpu1, bandwidth: 100 * (b + 1)}
hosts:
  "box[b=0..last]": box
nodes:
  - {name: "ib[0..1]", kind: switch, when: boxes > 1}
links:
  - {a: "box[0..last]/gpu[g=0..1]", b: "ib[g]", bandwidth: nic / 2, when: boxes > 1}
"""
    )
    assert names(topology) == ["box0/gpu0", "box0/gpu1", "box1/gpu0", "box1/gpu1", "ib0", "ib1"]
    assert [(node.host, node.rail) for node in topology.nodes[1:4:2]] == [("box0", "rail1"), ("box1", "rail1")]
    rates = links(topology)
    assert rates["box0/gpu0", "box0/gpu1"] == 100 and rates["box1/gpu0", "box1/gpu1"] == 200
    assert rates["box1/gpu1", "ib1"] == rates["ib1", "box1/gpu1"] == Fraction(25, 4)
    assert len(topology.links) == 12


def test_hosts_with_brackets_in_their_names(load):
    topology = load(
        """
templates:
  box:
    nodes:
      - {name: "gpu[0..1]", kind: rank}
    links:
      - {a: gpu0, b: gpu1, bandwidth: 1}
hosts:
  "row[[1]][x=0..1]": box
"""
    )
    assert names(topology) == ["row[1]0/gpu0", "row[1]0/gpu1", "row[1]1/gpu0", "row[1]1/gpu1"]
    assert topology.nodes[3].host == "row[1]1"


def test_when_filters_single_links_and_nodes(load):
    topology = load(
        'nodes:\n  - {name: "n[i=0..3]", kind: rank, when: i != 2}\n'
        'links:\n  - {a: "n[i=0,1,3]", b: "n[j=0,1,3]", bandwidth: 2 GB/s, when: i < j and not i == 0}\n'
    )
    assert names(topology) == ["n0", "n1", "n3"]
    assert set(links(topology)) == {("n1", "n3"), ("n3", "n1")}


def test_anchors_and_aliases(load):
    topology = load(
        FOUR + "links:\n  - {a: gpu0, b: gpu1, bandwidth: &nv 25 GB/s}\n  - {a: gpu1, b: gpu2, bandwidth: *nv}\n"
    )
    assert set(links(topology).values()) == {25}


def test_text_that_yaml_would_change_stays_text(load):
    topology = load("nodes:\n  - {name: no, kind: rank}\n  - {name: 0x10, kind: rank}\n  - {name: 1.50, kind: rank}\n")
    assert names(topology) == ["no", "0x10", "1.50"]


def test_name_of_a_file_without_one(tmp_path):
    path = tmp_path / "rack7.yaml"
    path.write_text("collsched: topology/1\nnodes:\n  - {name: gpu0, kind: rank}\n")
    assert load_topology(path).name == "rack7"


def test_where_names_the_line(load):
    topology = load(FOUR + "  - {name: sw, kind: switch}\n")
    assert [topology.where(node).rsplit(":", 1)[1] for node in (0, 3, 4)] == ["4", "4", "5"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-7 // 2", -4),
        ("7 / 2", Fraction(7, 2)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("n - 1 if n > 2 else 0", 3),
        ("ceil(n / 3) + floor(n / 3)", 3),
        ("n ^ 1 << 1", 6),
        ("not (n == 4 or n < 0)", 0),
        ("n == 4 and 1 <= n", 1),
        ("min(n, 3, 5) ** 2", 9),
        ("product(dims)", 6),
        ("dims", (2, 3)),
    ],
)
def test_arithmetic(text, value):
    result = parse_expression(text)({"n": 4, "dims": (2, 3)})
    assert result == value and not isinstance(result, float)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n.real",
        "n[0]",
        "lambda: 1",
        "print(n)",
        "'a'",
        "1j",
        "n if",
        "(n := 3)",
        "[1]",
        "f'{n}'",
        "None",
        "1 < 2 < 3",
        "dims + 1",
        "dims * 2",
        "max()",
        "min(dims, 1)",
        "2.5 % 0",
        "1.5 << 1",
        "9**99",
        "9**64**64",
        "(9**64)**64",
        "n " * 200,
        "(" * 150,
        "1if n else 2 3",
    ],
)
def test_no_arithmetic(text):
    with pytest.raises(InputError, match=r".+; allowed .+; .+"):
        parse_expression(text)({"n": 4, "dims": (2, 3)})


@pytest.mark.parametrize("name", ["a", "[", "]", "a[0]", "[[x]]", "[0..7]", "a]b[", "x[[[i=0]]"])
def test_escape(name):
    assert [found for found, _ in parse_pattern(escape(name)).expand({})] == [name]


def test_pattern_order():
    found = parse_pattern("b[i=0..1]/g[j=0..1]-[i*2+j]").expand({})
    assert [name for name, _ in found] == ["b0/g0-0", "b0/g1-1", "b1/g0-2", "b1/g1-3"]
    assert found[2][1] == {"i": 1, "j": 0}
