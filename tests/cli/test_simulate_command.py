"""`collsched simulate`."""

from __future__ import annotations

import pytest
from outcome import Call

NAMES = ["plan", "ring", "double-binary-tree", "halving-doubling", "hierarchical", "direct"]


@pytest.fixture
def compiled(call: Call) -> Call:
    assert call("compile", "dgx-a100", "--set", "boxes=2", "-o", "plan.cs").code == 0
    return call


def test_rows_for_the_plan_and_every_algorithm(compiled: Call) -> None:
    found = compiled("simulate", "plan.cs", "--size", "1KiB:20KiB", "--json").json()
    assert found["model"] == {"alpha_us": [0.5, 2], "transfer_cost_us": 1, "store_and_forward": False}
    assert [(row["algorithm"], row["bytes"]) for row in found["rows"]] == [
        (name, nbytes) for name in NAMES for nbytes in (1024, 4096, 16384, 20480)
    ]
    for row in found["rows"]:
        assert row["algbw_GBps"] == pytest.approx(row["bytes"] / row["seconds"] / 1e9)
        assert row["busbw_GBps"] == pytest.approx(row["algbw_GBps"] * 2 * 15 / 16)
        segments = row["segments"]
        assert segments >= 1 and segments & (segments - 1) == 0
    times = [row["seconds"] for row in found["rows"] if row["algorithm"] == "plan"]
    assert times == sorted(times)


def test_times_stay_above_the_bound_at_size(compiled: Call) -> None:
    bound = compiled("explain", "dgx-a100", "--set", "boxes=2", "--json").json()["bound"]["algbw_GBps"]
    rows = compiled("simulate", "plan.cs", "--size", "256MiB", "--json").json()["rows"]
    assert len(rows) == len(NAMES) and all(0 < row["algbw_GBps"] <= bound for row in rows)


def test_a_dearer_transfer_and_storing_switches_take_longer(compiled: Call) -> None:
    def seconds(*options: str) -> float:
        return float(compiled("simulate", "plan.cs", "--size", "1MiB", "--json", *options).json()["rows"][0]["seconds"])

    assert seconds("--cost", "0") < seconds() < seconds("--cost", "5us")
    assert seconds() < seconds("--store-and-forward")


def test_the_table_names_its_model(compiled: Call) -> None:
    out = compiled("simulate", "plan.cs", "--size", "64KiB:256KiB").out
    assert "α 0.5 to 2 µs a link, 1 µs a transfer, cut-through switches" in out
    assert "64 KiB" in out and "256 KiB" in out and "hierarchical" in out


def test_what_each_algorithm_moves_over_links_of_each_bandwidth(compiled: Call) -> None:
    rows = {
        row["algorithm"]: row for row in compiled("simulate", "plan.cs", "--size", "16MiB", "--json").json()["rows"]
    }
    for row in rows.values():
        assert [tier["bandwidth_GBps"] for tier in row["tiers"]] == [25, 300]
        assert sum(tier["bytes"] for tier in row["tiers"]) == 2 * 15 << 24  # every rank's buffer, to its sum and back
        for tier in row["tiers"]:
            assert row["seconds"] > tier["fullest_link_bytes"] / (tier["bandwidth_GBps"] * 1e9)
    between = {name: row["tiers"][0]["bytes"] for name, row in rows.items()}
    assert between["hierarchical"] == 2 << 24 < between["ring"] < between["direct"] == 12 << 24
    out = compiled("simulate", "plan.cs", "--size", "16MiB").out
    assert "links of" in out and "25 GB/s" in out and "32 MiB" in out and "moved for 16 MiB" in out


def test_links_of_one_bandwidth_need_no_table(call: Call) -> None:
    call("compile", "torus-2d", "-c", "allgather", "-o", "plan.cs")
    assert "links of" not in call("simulate", "plan.cs", "--size", "1MiB").out


def test_who_loses_is_told_how_to_win(compiled: Call) -> None:
    advice = "compile --objective auto chooses the fastest at every size"
    assert advice in compiled("simulate", "plan.cs", "--size", "1KiB").out
    assert advice not in compiled("simulate", "plan.cs", "--size", "1KiB", "--cost", "2us").out
    compiled("compile", "dgx-a100", "--set", "boxes=2", "--objective", "auto", "--size", "64KiB", "-o", "auto.cs")
    assert advice not in compiled("simulate", "auto.cs", "--size", "64KiB").out


def test_a_broadcast_has_rivals_of_its_own(call: Call) -> None:
    call("compile", "torus-2d", "-c", "broadcast", "-o", "broadcast.cs")
    rows = call("simulate", "broadcast.cs", "--size", "1MiB", "--json").json()["rows"]
    names = ["plan", "chain", "double-binary-tree", "binomial", "bucket", "scatter-allgather", "direct"]
    assert [row["algorithm"] for row in rows] == names
    assert rows[0]["busbw_GBps"] == rows[0]["algbw_GBps"]


def test_which_is_fastest_from_which_size(call: Call) -> None:
    call("compile", "leaf-spine", "-c", "all-to-all", "-o", "plan.cs")
    answer = call("simulate", "plan.cs", "--size", "1KiB:64MiB", "--json").json()
    assert [row["algorithm"] for row in answer["fastest"]] == ["bruck", "plan"]
    small, large = answer["fastest"]
    assert small["from_bytes"] == 1024 and large["from_bytes"] == 4 * small["to_bytes"] and large["to_bytes"] == 1 << 26
    out = call("simulate", "plan.cs", "--size", "1KiB:64MiB").out
    assert "fastest: bruck up to " in out and ", plan from " in out
    alone = call("simulate", "plan.cs", "--size", "1KiB").out
    assert "fastest" not in alone  # and no advice: auto has no such algorithms


def test_a_plan_without_rivals_or_without_work(call: Call) -> None:
    call("compile", "dgx-a100", "-c", "all-to-all", "-o", "all-to-all.cs")
    rows = call("simulate", "all-to-all.cs", "--size", "1MiB", "--json").json()["rows"]
    assert [row["algorithm"] for row in rows] == ["plan", "direct", "hierarchical"]
    call("compile", "dgx-a100", "-c", "allgather", "--group", "0", "-o", "alone.cs")
    (row,) = call("simulate", "alone.cs", "--size", "1MiB", "--json").json()["rows"]
    assert (row["seconds"], row["algbw_GBps"], row["busbw_GBps"]) == (0.0, None, None)
    assert call("simulate", "alone.cs", "--size", "1MiB").code == 0


@pytest.mark.parametrize("size", ["0", "1MiB:1KiB", "1KiB:", ":", "x:1MiB", "1KiB:2KiB:4KiB", "-4"])
def test_sizes_are_checked(compiled: Call, size: str) -> None:
    outcome = compiled("simulate", "plan.cs", f"--size={size}")
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.startswith("error: ")


def test_costs_and_plans_are_checked(compiled: Call) -> None:
    for cost in ("-1", "x", "2 s"):
        outcome = compiled("simulate", "plan.cs", f"--cost={cost}")
        assert (outcome.code, outcome.out) == (2, "") and outcome.err.startswith("error: ")
    outcome = compiled("simulate", "none.cs")
    assert (outcome.code, outcome.out) == (2, "") and "none.cs" in outcome.err
