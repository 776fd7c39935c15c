"""`collsched route`: what it takes, writes and refuses."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

FABRIC = """collsched: topology/1
name: fabric
family: {kind: leaf-spine, ranks: 16, per_leaf: 4, spines: 4, bandwidth: 12.5}
"""


@pytest.fixture(autouse=True)
def fabric(tmp_path: Path) -> None:
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "flows.csv").write_text("src,dst,bytes\nrank0,rank4,1000\n1,5,1000\n2,6,1 MB\n")


def test_a_ring_across_leaves_needs_no_split(call, tmp_path: Path) -> None:
    done = call("route", "./fabric.yaml", "--algorithm", "ring", "--stride", "4", "--size", "16MiB", "--json")
    assert done.code == 0, done.err
    value = done.json()
    assert value["max_congestion"] == value["spray_congestion"] == pytest.approx(2 * 15 * 2**20 / 12.5e9)
    assert (value["flows"], value["subflows"], value["splits"], value["lower_bound_splits"]) == (16, 16, 0, 0)
    assert list(value["ecmp_expected"]) == ["1", "2", "4", "8", "16"]
    assert value["ecmp_expected"]["1"]["mean"] > 1.5 * value["max_congestion"]
    assert not value["gains_nothing"]
    routes = json.loads((tmp_path / "fabric-routes.json").read_text())
    assert routes["subflows"][0]["path"][0] == "rank0" and len(routes["subflows"][0]["path"]) == 5
    assert sum(entry["bytes"] for entry in routes["subflows"]) == 16 * 30 * 2**20


def test_flows_of_a_file_keep_their_order_and_bytes(call, tmp_path: Path) -> None:
    assert call("route", "./fabric.yaml", "--flows", "flows.csv", "-o", "out.json").code == 0
    entries = json.loads((tmp_path / "out.json").read_text())["subflows"]
    for flow, (src, dst, size) in enumerate(
        [("rank0", "rank4", 1000), ("rank1", "rank5", 1000), ("rank2", "rank6", 10**6)]
    ):
        mine = [entry for entry in entries if entry["flow"] == flow]
        assert {(entry["src"], entry["dst"]) for entry in mine} == {(src, dst)}
        assert sum(entry["bytes"] for entry in mine) == size


def test_a_failed_link_carries_nothing_and_replanning_changes_little(call, tmp_path: Path) -> None:
    ring = ("--algorithm", "ring", "--stride", "4")
    assert call("route", "./fabric.yaml", *ring, "-o", "before.json").code == 0
    failed = ("--failed", "leaf0:spine1", "--json")
    done = call("route", "./fabric.yaml", "--replan", "before.json", "--sent", "0.5", "-o", "after.json", *failed)
    assert done.code == 0, done.err
    assert done.json()["moved"] == 1
    fresh = call("route", "./fabric.yaml", *ring, *failed).json()
    assert done.json()["max_congestion"] == pytest.approx(fresh["max_congestion"] / 2, rel=1e-6)
    for name in ("after.json", "fabric-routes.json"):
        for entry in json.loads((tmp_path / name).read_text())["subflows"]:
            assert ("leaf0", "spine1") not in zip(entry["path"], entry["path"][1:], strict=False)


def test_the_phases_of_a_plan_are_routed(call) -> None:
    assert call("compile", "leaf-spine", "-c", "allgather", "-o", "plan.cs").code == 0
    done = call("route", "plan.cs", "--size", "1MiB", "--json")
    assert done.code == 0, done.err
    assert done.json()["flows"] > 0 and done.json()["verified"]


def test_the_table_says_where_planning_gains_nothing(call) -> None:
    ring = call("route", "./fabric.yaml", "--algorithm", "ring", "--group", "0-3")
    assert "planning gains nothing" in ring.out
    assert (
        "times less on the fullest link" in call("route", "./fabric.yaml", "--algorithm", "ring", "--stride", "4").out
    )


def test_a_promise_that_cannot_be_kept_is_exit_code_1(call, tmp_path: Path) -> None:
    rows = [{"src": 0, "dst": 4, "bytes": 1000}, {"src": 1, "dst": 5, "bytes": 1000}] * 3
    (tmp_path / "flows.json").write_text(json.dumps(rows[:5]))
    command = (
        "route",
        "./fabric.yaml",
        "--flows",
        "flows.json",
        "--failed",
        "leaf0:spine0",
        "--failed",
        "leaf0:spine1",
    )
    done = call(*command, "--failed", "leaf0:spine2=3", "--mode", "epsilon", "--epsilon", "0", "--max-pieces", "5")
    assert done.code == 1
    assert "promise is not kept" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "has no flows; allowed are --flows FILE or --algorithm NAME"),
        (("--algorithm", "rings"), "did you mean 'ring'?"),
        (("--algorithm", "ring", "--flows", "flows.csv"), "leave the other out"),
        (("--algorithm", "ring", "--stride", "99"), "stride is 99"),
        (("--algorithm", "halving-doubling", "--group", "0-2"), "choose 2 of them"),
        (("--algorithm", "ring", "--failed", "leaf0"), "write for example leaf0:spine1=6.25"),
        (("--algorithm", "ring", "--failed", "leaf0:leaf1"), "no such link"),
        (("--algorithm", "ring", "--failed", "leaf0:spline1"), "did you mean 'spine1'?"),
        (("--algorithm", "ring", "--failed", "leaf0:spine1=99"), "allowed is from 0 to its 12.5 GB/s"),
        (("--algorithm", "ring", "--failed", "rank0:leaf0"), "no path through switches leads from 'rank0'"),
        (("--algorithm", "ring", "--mode", "epsilon", "--max-pieces", "1"), "a piece for each flow at least"),
        (("--algorithm", "ring", "-o", "fabric.yaml"), "exists and holds no routes"),
        (("--replan", "flows.csv"), "--replan without --failed"),
        (("--replan", "fabric.yaml", "--failed", "leaf0:spine1"), "not JSON"),
        (("--flows", "none.csv"), "cannot be read"),
    ],
)
def test_mistakes_end_with_what_would_mend_them(call, arguments: tuple[str, ...], message: str) -> None:
    done = call("route", "./fabric.yaml", *arguments)
    assert done.code == 2
    assert message in done.err and done.err.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("src,dst\n0,1\n", "flows.csv:1: the header is 'src,dst'"),
        ("src,dst,bytes\n0,1\n", "flows.csv:2: 2 values"),
        ("src,dst,bytes\n0,99,5\n", "flows.csv: line 2: rank 99 does not exist"),
        ("src,dst,bytes\n0,0,5\n", "to itself"),
        ("src,dst,bytes\n0,1,x\n", "'x' is not a size"),
        ("src,dst,bytes\n0,leaf0,5\n", "is a switch, not a rank"),
    ],
)
def test_mistakes_in_flows_name_the_line(call, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "flows.csv").write_text(text)
    done = call("route", "./fabric.yaml", "--flows", "flows.csv")
    assert (done.code, message in done.err) == (2, True), done.err


def test_pins_are_written_beside_the_routes(call, tmp_path: Path) -> None:
    nodes = [f"rank{i}" for i in range(16)] + [f"{kind}{i}" for kind in ("leaf", "spine") for i in range(4)]
    (tmp_path / "book.json").write_text(json.dumps({name: f"fc00::{i + 1:x}" for i, name in enumerate(nodes)}))
    ring = ("route", "./fabric.yaml", "--algorithm", "ring", "--stride", "4", "-o", "r.json")
    assert call(*ring, "--pin", "srv6", "--addresses", "book.json").code == 0
    segments = json.loads((tmp_path / "r.srv6.json").read_text())
    assert len(segments) == 16 and len(segments[0]["segments"]) == 4
    assert call(*ring, "--pin", "roce", "--addresses", "book.json", "--hash", "crc32").code == 0
    assert all(entry["udp_source_port"] >= 0xC000 for entry in json.loads((tmp_path / "r.roce.json").read_text()))
    assert call(*ring, "--pin", "ip", "--addresses", "book.json").code == 0
    assert "ip -6 rule add" in (tmp_path / "r.sh").read_text()
    again = call(*ring, "--pin", "ip", "--addresses", "book.json")
    assert again.code == 2 and "pass --force" in again.err
    bare = call(*ring[:-1], "s.json", "--pin", "srv6")
    assert bare.code == 2 and "has none" in bare.err and not (tmp_path / "s.json").exists()


def test_a_better_order_of_ranks_is_named(call) -> None:
    value = call("route", "./fabric.yaml", "--algorithm", "ring", "--stride", "4", "--json").json()["placement"]
    assert value["crossing_bytes_after"] < value["crossing_bytes"] / 3
    assert sorted(value["order"]) == list(range(16))


def test_a_plan_is_compiled_with_pinned_paths(call) -> None:
    done = call("compile", "./fabric.yaml", "--paths", "pinned", "-o", "plan.cs", "--json")
    assert done.code == 0, done.err
    value = done.json()["paths"]
    assert value["mode"] == "pinned" and Fraction(value["ratio"]) <= Fraction(value["ratio_before"])
    assert call("verify", "plan.cs").code == 0
    assert "pinned" in call("compile", "./fabric.yaml", "--paths", "pinned", "-o", "plan.cs").out


def test_a_plan_is_compared_with_what_the_fabric_would_choose(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collsched.plan.paths.PATIENCE", 0.0)
    exchange = ("compile", "./fabric.yaml", "-c", "all-to-all", "-o", "plan.cs")
    hashed = call(*exchange, "--paths", "ecmp", "--json").json()["paths"]
    assert hashed["alternatives"] == 4
    assert hashed["ecmp_seconds"]["p99"] >= hashed["ecmp_seconds"]["mean"] > hashed["pinned_seconds"] > 0
    sprayed = call(*exchange, "--paths", "spray", "--json").json()["paths"]
    assert sprayed["spray_seconds"] == pytest.approx(sprayed["pinned_seconds"], rel=0.1)
    assert "by hash, up to 4 choices" in call(*exchange, "--paths", "ecmp").out
    assert "paths" not in call(*exchange, "--json").json()


BAD_FLOWS = {
    "object.json": '{"src": 0}',
    "row.json": '[{"src": 0, "dst": 1}]',
    "more.json": '[{"src": 0, "dst": 1, "bytes": 5, "size": 5}]',
    "float.json": '[{"src": 0, "dst": 1, "bytes": 1.5}]',
    "negative.json": '[{"src": 0, "dst": 1, "bytes": -1}]',
    "huge.json": '[{"src": 0, "dst": 1, "bytes": 1e400}]',
    "flag.json": '[{"src": true, "dst": 1, "bytes": 5}]',
    "deep.json": "[" * 100_000,
    "name.json": '[{"src": "rank0", "dst": "rnak1", "bytes": 5}]',
    "self.json": '[{"src": 3, "dst": "rank3", "bytes": 5}]',
    "empty.csv": "",
    "header.csv": "from,to,bytes\n0,1,5\n",
    "columns.csv": "src,dst,bytes\n0,1\n",
    "unit.csv": "bytes,src,dst\n5 parsecs,0,1\n",
}


def routes(*subflows: tuple[int, int, str]) -> str:
    """A file of routes: of each subflow its flow, offset and path."""
    entries = [{"flow": f, "offset": at, "bytes": 5, "path": path.split()} for f, at, path in subflows]
    return json.dumps({"collsched": "routes/1", "subflows": entries})


BAD_ROUTES = {
    "list.json": "[]",
    "version.json": '{"collsched": "routes/0", "subflows": []}',
    "keys.json": '{"collsched": "routes/1", "subflows": [{"flow": 0}]}',
    "detour.json": routes((0, 0, "rank0 leaf0 spine0 leaf1 spine1 leaf2 rank8")),
    "gap.json": routes((1, 0, "rank0 leaf0 rank1")),
    "ends.json": routes((0, 0, "rank0 leaf0 rank1"), (0, 5, "rank0 leaf0 rank2")),
}


def test_mistakes_read_well(call, golden, tmp_path: Path) -> None:
    said = []
    for name, text in BAD_FLOWS.items():
        (tmp_path / name).write_text(text)
        said.append((name, call("route", "./fabric.yaml", "--flows", name)))
    for name, text in BAD_ROUTES.items():
        (tmp_path / name).write_text(text)
        said.append((name, call("route", "./fabric.yaml", "--replan", name, "--failed", "leaf0:spine1")))
    commands = {
        "sent": ("--replan", "list.json", "--failed", "leaf0:spine1", "--sent", "2"),
        "mode": ("--replan", "list.json", "--failed", "leaf0:spine1", "--mode", "epsilon"),
        "epsilon": ("--algorithm", "ring", "--mode", "epsilon", "--epsilon", "much"),
        "rate": ("--algorithm", "ring", "--failed", "leaf0:spine1="),
        "group": ("--algorithm", "ring", "--group", "0,0"),
        "pieces": ("--algorithm", "ring", "--mode", "epsilon", "--max-pieces", "0"),
        "addresses": ("--algorithm", "ring", "--pin", "ip", "--addresses", "list.json"),
    }
    said += [(name, call("route", "./fabric.yaml", *words)) for name, words in commands.items()]
    assert {done.code for _, done in said} == {2}
    assert not (tmp_path / "fabric-routes.json").exists()
    golden.check("".join(f"{name}\n    {done.err}" for name, done in said), "cli/route-mistakes")


def test_json_flows_and_csv_flows_are_one(call, tmp_path: Path) -> None:
    rows = [{"src": "rank0", "dst": 4, "bytes": 1000}, {"src": 1, "dst": "rank5", "bytes": "1 kB"}]
    (tmp_path / "flows.json").write_text(json.dumps(rows))
    (tmp_path / "same.csv").write_text("bytes, dst, src\n1000,rank4,0\n\n1kB,5,rank1\n")
    texts = []
    for name in ("flows.json", "same.csv"):
        assert call("route", "./fabric.yaml", "--flows", name, "-o", "out.json", "--force").code == 0
        texts.append((tmp_path / "out.json").read_text())
    assert texts[0] == texts[1]


def test_a_plan_in_which_switches_copy_has_no_flows_between_ranks(call) -> None:
    assert call("compile", "dgx-h100", "-c", "allgather", "-o", "plan.cs").code == 0
    done = call("route", "plan.cs")
    assert done.code in (0, 2)
    if done.code:
        assert "--in-network off" in done.err
    assert call("compile", "dgx-h100", "-c", "allgather", "--in-network", "off", "-o", "plan.cs").code == 0
    assert call("route", "plan.cs").code == 0
