"""Switches that copy and sum data, as the commands show and refuse them."""

import pytest

import collsched
from collsched.errors import MissingComponentError
from collsched.export.transfers import FILES
from collsched.plan import Plan

NVLS = ("dgx-h100", "--set", "boxes=1", "--set", "nvls=true")


def test_explain_tells_both_rates(call) -> None:
    answer = call("explain", *NVLS, "--json").json()
    assert answer["bound"]["algbw_GBps"] == answer["best_tree_algbw_GBps"] == 450
    assert answer["in_network"]["switches"] == ["box0/nvswitch"]
    without = answer["in_network"]["without"]
    assert without["bound_algbw_GBps"] == without["reached_algbw_GBps"] == pytest.approx(450 * 8 / 14)
    assert "in_network" not in call("explain", "dgx-h100", "--json").json()
    text = call("explain", *NVLS).out
    assert "box0/nvswitch can multicast and reduce" in text and "257.1 GB/s" in text


def test_a_plan_without_in_network_is_that_of_the_plain_fabric(call) -> None:
    done = call("compile", *NVLS, "--in-network", "off", "-o", "off.cs", "--json")
    assert done.code == 0, done.err
    plain = call("compile", "dgx-h100", "--set", "boxes=1", "-o", "plain.cs", "--json").json()
    assert done.json()["digest"] == plain["digest"]
    assert call("verify", "off.cs", "--topology", *NVLS).code == 0
    assert call("run", "off.cs", "--size", "1KiB", "--dtype", "int32").code == 0


def test_a_plan_that_needs_the_switches_is_for_fabrics_that_have_them(call) -> None:
    assert call("compile", *NVLS, "-o", "on.cs").code == 0
    assert call("verify", "on.cs", "--topology", *NVLS).code == 0
    refused = call("verify", "on.cs", "--topology", "dgx-h100", "--set", "boxes=1")
    assert refused.code == 1 and "what node box0/nvswitch can do" in refused.err


def test_engines_refuse_it_and_name_a_way_out(call) -> None:
    assert call("compile", *NVLS, "-o", "on.cs").code == 0
    refused = call("run", "on.cs")
    assert refused.code == 3
    assert "box0/nvswitch" in refused.err and "--in-network off" in refused.err and "export" in refused.err
    with pytest.raises(MissingComponentError, match="--in-network off"):
        collsched.connect(Plan.load("on.cs"))


def test_the_export_lists_the_switches(call, tmp_path) -> None:
    assert call("compile", *NVLS, "-o", "on.cs").code == 0
    assert call("export", "on.cs", "--to", "transfers", "-o", "out", "--segments", "1").code == 0
    topology, schedule = ((tmp_path / "out" / name).read_text() for name in FILES)
    assert '"smart": [8]' in topology
    assert '"dst": 8' in schedule and '"src": 8' in schedule


@pytest.mark.parametrize("word", ["on", "none"])
def test_other_words_are_refused(call, word: str) -> None:
    assert call("compile", "dgx-h100", "--in-network", word).code == 2
    with pytest.raises(collsched.errors.InputError, match="one of auto, off"):
        collsched.compile(collsched.bundled("dgx-h100"), in_network=word)
