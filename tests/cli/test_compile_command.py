"""`collsched compile`: its JSON keys, its files, its refusals."""

from fractions import Fraction
from pathlib import Path

import pytest

from collsched.collective import Kind
from collsched.plan import Plan

TWO_RANKS = """
collsched: topology/1
name: pair
nodes: [{name: a, kind: rank}, {name: b, kind: rank}]
links: [{a: a, b: b, bandwidth: 10}]
"""


def test_json_keys(call) -> None:
    done = call("compile", "dgx-a100", "--set", "boxes=2", "-c", "allgather", "--json")
    assert done.code == 0
    answer = done.json()
    assert answer["plan"] == "dgx-a100-allgather.cs"
    assert len(answer["digest"]) == 64
    assert (answer["ranks"], answer["verified"]) == (16, True)
    assert answer["trees"] >= 16 and answer["trees_per_root"] >= 1
    assert answer["bound"]["algbw_GBps"] == pytest.approx(16 * 65 / 3)
    assert answer["forest"]["algbw_GBps"] == pytest.approx(16 * 65 / 3)
    assert 1 <= answer["forest"]["depth_mean"] <= answer["forest"]["depth_max"]
    assert answer["predicted"]["seconds"] > 256 * 2**20 / (answer["bound"]["algbw_GBps"] * 1e9)
    assert answer["predicted"]["algbw_GBps"] < answer["bound"]["algbw_GBps"]
    assert {"reading", "bound", "packing", "lowering", "verification", "writing"} <= set(answer["seconds"])
    assert answer["peak_rss_bytes"] > 2**20
    assert Plan.load(answer["plan"]).digest == answer["digest"]


@pytest.mark.parametrize("kind", Kind)
def test_every_collective_compiles(call, kind: Kind) -> None:
    done = call("compile", "mi250", "-c", kind, "--json")
    assert done.code == 0, done.err
    answer = done.json()
    assert answer["collective"] == kind
    assert answer["plan"] == f"mi250-{kind}.cs"
    assert answer["forest"]["algbw_GBps"] <= answer["bound"]["algbw_GBps"] * (1 + 1e-12)


def test_an_all_to_all_runs(call) -> None:
    assert call("compile", "dgx1-v100", "-c", "all-to-all", "-o", "plan.cs").code == 0
    assert call("run", "plan.cs", "--engine", "shm", "--json").json()["wrong"] == 0


def test_a_matrix_of_sizes(call) -> None:
    Path("sizes.csv").write_text(",box0/gpu0,box1/gpu0\nbox0/gpu0,7,3\nbox1/gpu0,1,0\n")
    group = ("-c", "all-to-all", "--group", "box0/gpu0,box1/gpu0", "--matrix", "sizes.csv", "--json")
    answer = call("compile", "dgx-a100", *group, "-o", "plan.cs").json()
    assert answer["bound"]["ratio"] == answer["forest"]["ratio"] == "3/200"  # over all NICs of a box
    assert answer["bound"]["algbw_GBps"] == pytest.approx(10 / 3 * 200)  # the larger buffer: 7 of it stay at home
    assert call("explain", "dgx-a100", *group).json()["bound"]["ratio"] == "3/200"
    assert call("run", "plan.cs", "--engine", "shm", "--json").json()["wrong"] == 0


def test_equal_commands_give_equal_digests(call, spawn) -> None:
    command = ["compile", "dgx-a100", "-c", "allreduce", "--json"]
    digests = {spawn(*command).json()["digest"] for _ in range(2)} | {call(*command).json()["digest"]}
    assert len(digests) == 1
    assert call(*command, "--seed", "1").json()["digest"] not in digests


def test_progress_stays_out_of_stdout_and_quick_commands_have_none(spawn) -> None:
    done = spawn("compile", "dgx-a100", "--json")
    assert done.code == 0 and done.err == ""
    assert done.json()["verified"] is True


def test_people_get_no_escape_codes_in_a_pipe(call) -> None:
    done = call("compile", "dgx-a100", "-c", "allgather")
    assert done.code == 0
    assert "\x1b" not in done.out
    for word in ("fabric", "16 ranks", "346.7 GB/s", "3/65", "100 % of the bound", "dgx-a100-allgather.cs", "verified"):
        assert word in done.out


def test_one_rank_has_no_rates(call, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("collsched: topology/1\nname: one\nnodes: [{name: a, kind: rank}]\nlinks: []\n")
    done = call("compile", "./one.yaml", "--json")
    assert done.code == 0, done.err
    answer = done.json()
    assert answer["bound"] == {"ratio": "0", "algbw_GBps": None}
    assert answer["forest"]["algbw_GBps"] is None and answer["predicted"]["algbw_GBps"] is None
    assert answer["verified"] is True
    assert "nothing has to move" in call("compile", "./one.yaml", "--force").out


def test_two_ranks(call, tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").write_text(TWO_RANKS)
    done = call("compile", "pair.yaml", "-c", "allgather", "--json", "-o", "out.cs")
    assert done.code == 0, done.err
    assert done.json()["bound"] == {"ratio": "1/10", "algbw_GBps": 20.0}
    assert (tmp_path / "out.cs").is_file()


def test_trees_per_root(call) -> None:
    done = call("compile", "dgx-a100", "-c", "allgather", "--trees-per-root", "1", "--json")
    assert done.code == 0
    answer = done.json()
    assert answer["trees_per_root"] == 1
    assert answer["trees"] == 16
    assert Fraction(answer["forest"]["ratio"]) >= Fraction(answer["bound"]["ratio"])


def test_shards_and_groups(call, tmp_path: Path) -> None:
    (tmp_path / "sizes.yaml").write_text("box0/gpu0: 3\nbox0/gpu1: 1\nbox1/gpu0: 0\n")
    group = "box0/gpu[0-1],8"
    done = call("compile", "dgx-a100", "-c", "allgather", "--group", group, "--shards", "sizes.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json()["ranks"] == 3
    plan = Plan.load(done.json()["plan"])
    assert (plan.collective.group, plan.collective.shards) == ((0, 1, 8), (3, 1, 0))


def test_an_existing_plan_is_replaced_and_another_file_is_not(call, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    refused = call("compile", "dgx-a100", "-o", "notes.txt")
    assert refused.code == 2
    assert "notes.txt: exists and is not a plan" in refused.err and "--force" in refused.err
    assert (tmp_path / "notes.txt").read_text() == "keep me"
    assert call("compile", "dgx-a100", "-o", "plan.cs").code == 0
    assert call("compile", "dgx-a100", "-o", "plan.cs").code == 0
    assert call("compile", "dgx-a100", "-o", "notes.txt", "--force").code == 0
    assert Plan.load(tmp_path / "notes.txt").digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "plan.cs"]


REFUSALS = {
    "unknown-collective": ["dgx-a100", "-c", "gossip"],
    "all-to-all-with-trees": ["dgx-a100", "-c", "all-to-all", "--trees-per-root", "1"],
    "root-without-need": ["dgx-a100", "-c", "allgather", "--root", "0"],
    "root-outside-the-group": ["dgx-a100", "-c", "broadcast", "--group", "0-3", "--root", "5"],
    "unknown-rank": ["dgx-a100", "--group", "box0/gpu[0-8]"],
    "group-beyond-the-ranks": ["dgx-a100", "--group", "0-99"],
    "no-such-shard-file": ["dgx-a100", "--shards", "none.yaml"],
    "no-such-matrix": ["dgx-a100", "-c", "all-to-all", "--matrix", "none.csv"],
    "matrix-without-need": ["dgx-a100", "-c", "allgather", "--matrix", "sizes.csv"],
    "matrix-of-others": ["dgx-a100", "-c", "all-to-all", "--matrix", "sizes.csv"],
    "matrix-as-shards": ["dgx-a100", "-c", "all-to-all", "--shards", "shards.yaml"],
    "setting-without-a-value": ["dgx-a100", "--set", "boxes"],
    "setting-twice": ["dgx-a100", "--set", "boxes=1", "--set", "boxes=2"],
    "setting-unknown": ["dgx-a100", "--set", "bxes=1"],
    "size": ["dgx-a100", "--size", "12 parsecs"],
    "trees-per-root": ["dgx-a100", "--trees-per-root", "0"],
    "seed": ["dgx-a100", "--seed", "-1"],
    "output-in-no-directory": ["dgx-a100", "-o", "no/such/place.cs"],
    "output-is-a-directory": ["dgx-a100", "-o", "."],
    "file-missing": ["./missing.yaml"],
}


def test_an_unknown_topology_is_near_a_known_one(call) -> None:
    done = call("compile", "dgx-a1000")
    assert done.code == 2 and "did you mean 'dgx-a100'?" in done.err


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(call, golden, name: str) -> None:
    Path("sizes.csv").write_text("src,dst,size\nbox0/gpu0,box0/gpu9,1\n")
    Path("shards.yaml").write_text("box0/gpu0: 1\n")
    done = call("compile", *REFUSALS[name])
    assert (done.code, done.out) == (2, "")
    golden.check(done.err, f"cli/compile-{name}")


def test_unreachable_ranks_come_with_a_witness(call, golden, tmp_path: Path) -> None:
    (tmp_path / "split.yaml").write_text(
        "collsched: topology/1\nname: split\n"
        "nodes: [{name: a, kind: rank}, {name: b, kind: rank}, {name: c, kind: rank}]\n"
        "links: [{a: a, b: b, bandwidth: 10}, {src: b, dst: c, bandwidth: 10}]\n"
    )
    done = call("compile", "./split.yaml")
    assert (done.code, done.out) == (2, "")
    golden.check(done.err, "cli/compile-unreachable")
    assert call("compile", "./split.yaml", "-c", "broadcast", "--root", "a").code == 0
    assert call("compile", "./split.yaml", "--group", "a,b").code == 0
