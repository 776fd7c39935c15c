"""`collsched explain`: exact ratios, cuts that prove them, and what would raise them."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from collsched.collective import KINDS, Kind, make_collective
from collsched.forest.optimum import optimum
from collsched.forest.problem import directions, problem
from collsched.topology import resolve


@pytest.mark.parametrize(
    ("topology", "settings", "ratio"),
    [
        ("dgx-a100", ["boxes=1"], "7/300"),
        ("dgx-a100", ["boxes=2"], "3/65"),
        ("dgx-a100", ["boxes=4"], "3/25"),
        ("mi250", ["boxes=1"], "7/150"),
        ("mi250", ["boxes=2"], "15/166"),
    ],
)
def test_known_ratios(call, topology: str, settings: list[str], ratio: str) -> None:
    done = call(
        "explain", topology, *(word for value in settings for word in ("--set", value)), "-c", "allgather", "--json"
    )
    assert done.code == 0, done.err
    answer = done.json()
    assert answer["bound"]["ratio"] == ratio
    assert answer["bound"]["algbw_GBps"] == pytest.approx(float(answer["ranks"] / Fraction(ratio)))
    assert answer["bound"]["reached_by_trees"] is True


@pytest.mark.parametrize("kind", [Kind.ALLGATHER, Kind.REDUCE_SCATTER])
@pytest.mark.parametrize("topology", ["dgx1-v100", "mi250", "fat-tree", "unequal-boxes", "random-irregular"])
def test_the_cut_proves_the_ratio(call, topology: str, kind: Kind) -> None:
    answer = call("explain", topology, "-c", kind, "--json").json()
    fabric = resolve(topology)
    inside = {i for i, node in enumerate(fabric.nodes) if node.name in set(answer["cut"]["side"])}
    ranks = sum(rank in inside for rank in fabric.ranks)
    ends = [(link.dst, link.src) if kind is Kind.REDUCE_SCATTER else (link.src, link.dst) for link in fabric.links]
    crossing = [a in inside and b not in inside for a, b in ends]
    leaving = sum((link.bandwidth for link, out in zip(fabric.links, crossing, strict=True) if out), Fraction(0))
    assert answer["cut"]["ranks_inside"] == answer["cut"]["weight_inside"] == ranks < len(fabric.ranks)
    assert answer["cut"]["exit_bandwidth"] == leaving
    assert Fraction(answer["bound"]["ratio"]) == ranks / leaving


def test_allreduce_has_a_proven_bound_and_a_two_phase_rate(call) -> None:
    answer = call("explain", "unequal-boxes", "--json").json()
    assert answer["collective"] == "allreduce"
    assert answer["bound"]["algbw_GBps"] == pytest.approx(100)
    assert answer["two_phase_algbw_GBps"] == pytest.approx(75)
    assert answer["best_tree_algbw_GBps"] == answer["best_tree_limit_GBps"] == pytest.approx(100)
    assert answer["winner"] == "joint"
    assert answer["cut"]["exit_bandwidth"] == 100
    mi250 = call("explain", "mi250", "--json").json()
    assert mi250["cut"] is None and len(mi250["parts"]) == 16
    assert mi250["best_tree_algbw_GBps"] == mi250["two_phase_algbw_GBps"]
    assert mi250["best_tree_limit_GBps"] == mi250["best_tree_algbw_GBps"] < mi250["bound"]["algbw_GBps"]
    assert mi250["winner"] == "two-phase"
    one = call("explain", "mi250", "--group", "0", "--json").json()
    assert one["best_tree_algbw_GBps"] is one["two_phase_algbw_GBps"] is one["winner"] is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("topology", ["mi250", "unequal-boxes", "dgx1-v100"])
def test_what_is_said_to_raise_the_bound_does(call, topology: str, kind: Kind) -> None:
    answer = call("explain", topology, "-c", kind, "--json").json()
    assert answer["raises"], "every kind of collective is bound by some links here"
    fabric = resolve(topology)
    collective = make_collective(fabric, kind)
    names = [node.name for node in fabric.nodes]
    for found in answer["raises"]:
        reverse = directions(kind)[found["phase"]]
        faster = {tuple(pair) for pair in found["links"]}
        factor = Fraction(10) if found["factor"] is None else Fraction(found["factor"])
        links = tuple(
            replace(link, bandwidth=link.bandwidth * factor) if (names[link.src], names[link.dst]) in faster else link
            for link in fabric.links
        )
        before = optimum(problem(fabric, collective, reverse=reverse)).ratio
        after = optimum(problem(replace(fabric, links=links), collective, reverse=reverse)).ratio
        assert after < before
        assert found["ratio"] in (None, str(after))


def test_a_plan_explains_itself(call) -> None:
    made = call("compile", "mi250", "-c", "allgather", "--json").json()
    answer = call("explain", made["plan"], "--json").json()
    assert answer["digest"] == made["digest"]
    assert answer["bound"]["ratio"] == answer["forest"]["ratio"] == "7/150"
    assert "100 % of the bound" in call("explain", made["plan"]).out
    refused = call("explain", made["plan"], "--group", "0-3")
    assert refused.code == 2 and "--group does not apply to a plan" in refused.err
    refused = call("explain", made["plan"], "-c", "allreduce")
    assert refused.code == 2 and "--collective does not apply to a plan" in refused.err
    refused = call("compile", made["plan"])
    assert refused.code == 2 and "is a plan, and a topology is needed" in refused.err


def test_rooted_weighted_and_grouped(call, tmp_path: Path) -> None:
    (tmp_path / "sizes.yaml").write_text("\n".join(f"box0/gpu{i}: {i}" for i in range(8)))
    group = ["--group", "box0/gpu[0-7]"]
    whole = call("explain", "dgx-a100", "-c", "broadcast", "--root", "box1/gpu2", "--json").json()
    assert (whole["root"], whole["ranks"]) == ("box1/gpu2", 16)
    some = call("explain", "dgx-a100", "-c", "allgather", *group, "--shards", "sizes.yaml", "--json").json()
    # All but the first rank's nothing has to reach it: 28 of 28 over 325 GB/s.
    assert some["bound"]["ratio"] == "28/325"
    assert some["cut"]["weight_inside"] == 28
    text = call("explain", "dgx-a100", "-c", "allgather", *group, "--shards", "sizes.yaml").out
    assert "allgather over 8 of 16 ranks, unequal shards" in text


UNBALANCED = """
collsched: topology/1
name: hub
nodes: [{name: a, kind: rank}, {name: b, kind: rank}, {name: c, kind: rank}, {name: s, kind: switch}]
links:
  - {src: a, dst: s, bandwidth: 10}
  - {src: b, dst: s, bandwidth: 1}
  - {src: c, dst: s, bandwidth: 1}
  - {src: s, dst: a, bandwidth: 10}
  - {src: s, dst: b, bandwidth: 10}
  - {src: s, dst: c, bandwidth: 10}
"""


def test_a_switch_that_sends_more_than_it_receives(call, tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text(UNBALANCED)
    answer = call("explain", "./hub.yaml", "-c", "broadcast", "--root", "a", "--json").json()
    # Each cut alone would allow 1/10. But b and c share the 12 that the switch receives, 1 + 1 of it from each other.
    assert answer["bound"]["ratio"] == "1/6"
    assert answer["bound"]["reached_by_trees"] is True
    assert answer["cut"] is None
    assert "more than any one cut" in call("explain", "./hub.yaml", "-c", "broadcast", "--root", "a").out
    made = call("compile", "./hub.yaml", "-c", "broadcast", "--root", "a", "--json").json()
    assert made["verified"] is True
    assert made["forest"]["algbw_GBps"] == 6


def test_unreachable(call, golden, tmp_path: Path) -> None:
    text = "collsched: topology/1\nname: way\nnodes: [{name: a, kind: rank}, {name: b, kind: rank}]\n"
    (tmp_path / "way.yaml").write_text(text + "links: [{src: a, dst: b, bandwidth: 1}]\n")
    done = call("explain", "./way.yaml", "-c", "allgather")
    assert (done.code, done.out) == (2, "")
    golden.check(done.err, "cli/explain-unreachable")


@pytest.mark.parametrize("topology", ["dgx-a100", "mi250", "unequal-boxes", "torus-2d"])
def test_what_people_read(call, golden, topology: str) -> None:
    golden.check(call("explain", topology).out, f"cli/explain-{topology}")


def test_an_all_to_all_is_explained_by_prices(call) -> None:
    answer = call("explain", "dgx-a100", "-c", "all-to-all", "--json").json()
    assert answer["bound"] == {"ratio": "8/25", "algbw_GBps": 50.0, "reached_by_trees": True}
    assert answer["cut"] is None and answer["raises"] == []
    assert answer["reached_algbw_GBps"] == 50.0
    assert {price for _, _, price in answer["prices"]} == {1}
    shown = call("explain", "dgx-a100", "-c", "all-to-all").out
    assert "limited by 32 links such as box0/gpu0 → ib0 of 25 GB/s" in shown
