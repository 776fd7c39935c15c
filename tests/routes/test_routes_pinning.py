"""Ports, scripts and segment lists that pin paths; and advice on placement."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address

import pytest
from fabrics import flows, leaf_spine, strided_ring

from collsched.errors import InputError
from collsched.routes import pinning
from collsched.routes.placement import advise
from collsched.routes.planner import plan_flows


def test_ports_and_labels_are_those_of_linux() -> None:
    assert pinning.udp_source_port(1) == 0xC001
    assert pinning.udp_source_port(0xFFFFF) == 0xC000 | (0x3FFF ^ 0x3F)
    assert pinning.flow_label_of_queue_pairs(0x12345, 0x6789A) == label_by_hand(0x12345, 0x6789A)
    for port in range(0xC000, 0x10000, 97):
        label = pinning.flow_label_of_port(port)
        assert label > 0 and pinning.udp_source_port(label) == port
    with pytest.raises(InputError, match="20 bits"):
        pinning.udp_source_port(1 << 20)


def label_by_hand(a: int, b: int) -> int:
    value = a * b
    return (value ^ (value >> 20) ^ ((value ^ (value >> 20)) >> 40)) % (1 << 20)


@pytest.mark.parametrize(("paths", "probes"), [(1, 1), (16, 54), (64, 304)])
def test_probe_budget(paths: int, probes: int) -> None:
    assert round(float(pinning.probe_budget(paths))) == probes


@pytest.mark.parametrize("name", list(pinning.HASHES))
def test_a_chosen_port_leads_to_its_path(name: str) -> None:
    hash = pinning.HASHES[name]
    src, dst = ip_address("10.0.0.1"), ip_address("10.0.1.7")
    ports = [pinning.port_of_path(hash, src, dst, path, 16) for path in range(16)]
    assert [pinning.hash_bucket(hash, src, dst, port, 16) for port in ports] == list(range(16))


def test_segments_and_scripts_follow_the_paths() -> None:
    topology = leaf_spine(2, 2, 2)
    plan = plan_flows(topology, flows([0, 1], [2, 3], 100), mode="exact")
    names = [node.name for node in topology.nodes]
    book = pinning.Book.of({name: f"fc00::{i + 1:x}" for i, name in enumerate(names)}, names)
    chosen = list(pinning.pins(plan.network, plan.subflows))
    for pin in chosen:
        assert pin.switches[0] == "leaf0" and pin.switches[2] == "leaf1"
        assert pinning.segment_list(pin, book) == tuple(book.find(name) for name in (*pin.switches, pin.dst))
    assert {pin.path for pin in chosen} == {0, 1}
    script = "".join(pinning.policy_script(chosen, book))
    assert script.count("rule add") == 4
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    with pytest.raises(InputError, match="'spine0' has none"):
        pinning.segment_list(chosen[0], pinning.Book.of({"leaf0": "10.0.0.1"}, names))


def test_contiguous_ranks_are_advised_to_a_ring() -> None:
    topology, ring = leaf_spine(4, 4, 4), strided_ring(4, 4, 100)
    advice = advise(topology, ring)
    assert (advice.crossing, advice.crossing_after) == (1600, 0)  # four rings of four ranks, a leaf each
    assert sorted(advice.order) == list(range(16))
    assert advise(topology, flows([0], [1], 5)).order == tuple(range(16))
