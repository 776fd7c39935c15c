"""Importers: every format read, every gap asked for by name, every number with its source."""

from __future__ import annotations

import os
import random
from fractions import Fraction
from pathlib import Path

import pytest
from import_files import CASES, Case

from collsched import compile
from collsched.errors import InputError
from collsched.topology.importers import Imported, import_topology

FUZZ = int(os.environ.get("COLLSCHED_FUZZ", "150"))  # mutated inputs a case
MACHINES = os.environ.get("COLLSCHED_MACHINES")
NVSWITCH = {"nvlinks": "12", "nvlink-rate": "25"}
RANKS = {"hosts-are-ranks": "", "link-rate": "50", "uplink-rate": "200"}


def read(tmp_path: Path, text: str, given: dict[str, str] | None = None, **options: object) -> Imported:
    path = tmp_path / "given.file"
    path.write_text(text, encoding="utf-8")
    return import_topology([str(path)], given=given, **options)  # type: ignore[arg-type]


def rate(imported: Imported, src: str, dst: str) -> Fraction:
    names = [node.name for node in imported.topology.nodes]
    return next(link.bandwidth for link in imported.topology.links if (names[link.src], names[link.dst]) == (src, dst))


@pytest.mark.parametrize("name", CASES)
def test_formats(tmp_path: Path, name: str):
    case = CASES[name]
    imported = read(tmp_path, case.text, case.given)
    topology = imported.topology
    assert (len(topology.ranks), len(topology.nodes), len(topology.links)) == case.size
    links = [line for line in imported.text.splitlines() if "bandwidth" in line]
    assert links and all("  # " in line for line in links)
    assert compile(topology, "allgather").report


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.given])
def test_each_gap_is_asked_for(tmp_path: Path, name: str):
    case = CASES[name]
    for option in case.given:
        given = {key: value for key, value in case.given.items() if key != option}
        with pytest.raises(InputError, match=rf"Missing: (.*; )?--{option}: .* for example:  collsched .*--{option}"):
            read(tmp_path, case.text, given)


def test_rates(tmp_path: Path):
    nccl, rccl = CASES["nccl"].text, CASES["rccl"].text
    assert rate(read(tmp_path, nccl), "gpu0", "nvswitch") == 300
    assert rate(read(tmp_path, nccl, rates="runtime"), "gpu0", "nvswitch") == 240
    assert rate(read(tmp_path, rccl), "gpu0", "gpu1") == 100
    assert rate(read(tmp_path, rccl, rates="runtime"), "gpu0", "gpu1") == 72
    assert "at runtime rates" in read(tmp_path, rccl, rates="runtime").text


def test_pcie(tmp_path: Path):
    case = CASES["cloud-pcie"]
    imported = read(tmp_path, case.text, case.given)
    assert rate(imported, "gpu0", "pcie0") == rate(imported, "gpu1", "pcie0") == Fraction("15.75")
    assert rate(imported, "gpu2", "cpu1") == Fraction("7.875")
    assert rate(read(tmp_path, case.text, case.given, rates="runtime"), "gpu2", "cpu1") == 6
    assert rate(imported, "cpu0", "cpu1") == 20


def test_cables_count_once(tmp_path: Path):
    case = CASES["ibnet"]
    imported = read(tmp_path, case.text, case.given)
    assert rate(imported, "leaf", "spine") == rate(imported, "spine", "leaf") == 100
    assert rate(imported, "n1", "leaf") == 50
    assert rate(imported, "leaf", "n2") == 25
    assert "# 1 HCAs are left out" in imported.text


def test_graphs_keep_their_numbers(tmp_path: Path):
    imported = read(tmp_path, CASES["graphml"].text, {"link-rate": "30"})
    assert rate(imported, "a", "s") == rate(imported, "s", "a") == 25
    assert rate(imported, "s", "b") == 30
    assert {link.alpha for link in imported.topology.links} == {Fraction("1.5"), Fraction(1)}
    imported = read(tmp_path, CASES["node-link"].text, {"link-rate": "30"})
    assert (rate(imported, "0", "1"), rate(imported, "1", "0")) == (Fraction("12.5"), 30)


def test_hwloc_links(tmp_path: Path):
    imported = read(tmp_path, CASES["hwloc"].text)
    assert (rate(imported, "gpu0", "nvswitch0"), rate(imported, "nvswitch0", "gpu1")) == (25, 50)
    with pytest.raises(InputError, match=r"Missing: --pcie-rate: .*; --cpu-rate:"):
        read(tmp_path, CASES["hwloc"].text.replace("NVLinkB", "NVLinkb"))


def test_hwloc_pcie(tmp_path: Path):
    case = CASES["hwloc-pcie"]
    imported = read(tmp_path, case.text, case.given)
    assert rate(imported, "gpu0", "cpu0") == rate(imported, "cpu1", "gpu1") == Fraction("15.75")
    given = case.given | {"nic-rate": "25", "fabric": "switch"}
    two = read(tmp_path, case.text, given, hosts=2)
    assert rate(two, "host1/nic0", "host1/pcie0") == rate(two, "host0/cpu0", "host0/pcie0") == Fraction("31.5")
    assert rate(two, "host1/nic1", "host1/cpu1") == 63
    assert len([node for node in two.topology.nodes if "nic" in node.name]) == 4  # eno1 is no device for RDMA
    with pytest.raises(InputError, match="Missing: --nic-rate"):
        read(tmp_path, case.text, case.given | {"fabric": "switch"}, hosts=2)


def test_hcas_meet_nics_in_order(tmp_path: Path):
    host, fabric = tmp_path / "topo.xml", tmp_path / "net.out"
    host.write_text(CASES["nccl"].text)
    fabric.write_text(CASES["ibnet"].text)
    imported = import_topology([str(host), str(fabric)], given={"unnamed": "leave-out"})
    assert rate(imported, "n1/nic0", "leaf") == 25
    fabric.write_text(CASES["ibnet"].text.replace("n2 HCA-1", "n1 mlx5_1"))
    with pytest.raises(InputError, match="n1 has 2 ports in the fabric file and 1 NICs"):
        import_topology([str(host), str(fabric)], given={"unnamed": "leave-out"})


def test_copies_of_a_host(tmp_path: Path):
    text = CASES["nccl"].text
    with pytest.raises(InputError, match="--fabric: what joins the hosts"):
        read(tmp_path, text, hosts=3)
    imported = read(tmp_path, text, {"fabric": "switch"}, hosts=3)
    assert len(imported.topology.ranks) == 6
    assert rate(imported, "host2/nic0", "fabric") == 25
    assert rate(imported, "host1/gpu0", "host1/pcie0") == Fraction("31.5")
    assert {node.host for node in imported.topology.nodes} == {None, "host0", "host1", "host2"}
    assert compile(imported.topology, "allgather").report


def test_host_and_fabric(tmp_path: Path):
    host, fabric = tmp_path / "topo.xml", tmp_path / "topology.conf"
    host.write_text(CASES["nccl"].text)
    fabric.write_text(CASES["slurm"].text)
    for files in ([str(host), str(fabric)], [str(fabric), str(host)]):
        imported = import_topology(files, given={"uplink-rate": "50"})
        assert len(imported.topology.ranks) == 10
        assert rate(imported, "n08/nic0", "leaf1") == 25
        assert compile(imported.topology, "allgather").report
    fewer = import_topology([str(host), str(fabric)], given={"uplink-rate": "50"}, only_hosts="n*", hosts=2)
    assert len(fewer.topology.ranks) == 4
    with pytest.raises(InputError, match="give no two of a kind"):
        import_topology([str(host), str(host)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"nodes": ' + "[" * 100_000, "nested too deep|not JSON"),
        ('{"nodes": [1], "links": []}', "'nodes' is not a list"),
        (CASES["graphml"].text.replace('target="s"', 'target="t"', 1), r"file:8: edge to 't'"),
        (CASES["hwloc"].text.replace("25000", "", 1), "8 values for 3 objects"),
        ("hello", "not a format that can be imported"),
        ("<graphs version='1'/>", "NCCL_GRAPH_FILE"),
        ("<system>", "not XML"),
        ('<!DOCTYPE s [<!ENTITY a "b">]><system>&a;</system>', "declares an XML entity"),
        ("<system>" + "<cpu>" * 100, "nested deeper"),
        ('<?xml version="1.0" encoding="x-none"?><system/>', "not XML"),
        (CASES["nccl"].text.replace('count="12"', 'count="99999999999"'), r"file:\d+: 'count' of <nvlink>"),
        (CASES["rccl"].text.replace("c1", "c9", 1), "leads to '0000:c1:00.0'"),
        (CASES["smi"].text.replace("PIX", "FOO", 1), "'FOO'"),
        (CASES["smi"].text.replace("NIC0\tPIX", "NIC1\tPIX"), "no row for NIC0"),
        ("SwitchName=a Nodes=n[1-99999999]", "at most 65536 names"),
        ("SwitchName=a Nodes=n[1-300][1-300]", "more than 65536 names"),
        ("SwitchName=a Nodes=n[1", "unpaired brackets"),
        ("SwitchName=a Nodes=n1\nSwitchName=a Nodes=n2", "file:2: 'a' is declared twice"),
        ("switches:\n  a: {}\nblocks: []\n", "no nodes in its blocks"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, RANKS)


def test_impossible_nic_speed_is_asked_for(tmp_path: Path):
    text = CASES["nccl"].text.replace('speed="200000"', 'speed="200000000"')
    with pytest.raises(InputError, match=r"--nic-rate: .*200000000 Mb/s, which cannot be"):
        read(tmp_path, text, {"fabric": "switch"}, hosts=2)
    assert len(read(tmp_path, text).topology.ranks) == 2


def mutated(text: str, random: random.Random) -> str:
    """A few edits: letters changed, pieces removed, doubled, moved or swapped for what hurts parsers."""
    nasty = ("<", ">", '"', "[", "]", "=", "\n", "\x00", "é", "0", "-1", "9" * 5000, "nan", "&x;", "X", "{", ": ", " ")
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(text) + 1)
        end = min(len(text), at + random.choice((0, 1, 1, 5, 40)))
        other = random.randrange(len(text) + 1)
        piece = random.choice((*nasty, "", text[other : other + 20], text[at:end] * 2))
        text = text[:at] + piece + text[end:]
    return text


@pytest.mark.parametrize("name", CASES)
def test_mutated_files_give_topologies_or_messages(tmp_path: Path, name: str):
    case: Case = CASES[name]
    seeded = random.Random(name)
    for _ in range(FUZZ):
        text = mutated(case.text, seeded)
        try:
            imported = read(tmp_path, text, case.given, hosts=seeded.choice((None, None, 2)))
        except InputError as error:
            assert len(str(error)) < 4000 and "\n" not in str(error)
        else:
            assert imported.topology.ranks


SAMPLES: dict[str, tuple[int, dict[str, str]]] = {
    "rccl_topo_16p1h.xml": (16, {}),
    "rccl_topo_4p_940.xml": (4, {}),
    "rccl_topo_8p6l_4nic.xml": (8, {}),
    "rccl_topo_8p_90a.xml": (8, {}),
    "aws_p4d-24xl-topo.xml": (8, NVSWITCH),
    "aws_p5.48xl-topo.xml": (8, {**NVSWITCH, "classless": "nic", "gpus": "8", "pcie-rate": "63"}),
    "azure_ndv2-topo.xml": (8, {"nvlinks": "0", "cpu-rate": "20"}),
    "azure_ndv4-topo.xml": (8, NVSWITCH),
    "azure_ndv5-topo.xml": (8, {**NVSWITCH, "nvlinks": "18"}),
    "oci_topo-flattened.xml": (8, NVSWITCH),
    "smi_topo_m_8xH100.txt": (8, {"nvlink-rate": "25", "nvlink-shape": "switch"}),
    "rocm_smi_showtopo_4gpu_pcie.txt": (4, {"pcie-rate": "32", "cpu-rate": "20"}),
    "hwloc_nvidiaDGX2.xml": (16, {"uplink-rate": "200"}),
    "hwloc_power8gpudistances.xml": (4, {"cpu-rate": "32"}),
    "topograph_ibnetdiscover_example.out": (121, {"unnamed": "leave-out", "hosts-are-ranks": ""}),
    "slurm_tree_topology.conf": (96, RANKS),
    "slurm_block_topology.conf": (96, RANKS),
    "topograph_nvl72.yaml": (72, RANKS),
    "topograph_small-tree.yaml": (6, RANKS),
}


@pytest.mark.skipif(MACHINES is None, reason="COLLSCHED_MACHINES names no directory of real machines' files")
@pytest.mark.parametrize("name", SAMPLES)
def test_real_machines(name: str):
    ranks, given = SAMPLES[name]
    path = str(Path(MACHINES or "") / name)
    if given:
        with pytest.raises(InputError, match=f"Missing: --({'|'.join(given)}):"):
            import_topology([path])
    topology = import_topology([path], given=given).topology
    assert len(topology.ranks) == ranks
    plan = compile(topology, "allgather")
    assert plan.report
    if name == "rccl_topo_16p1h.xml":
        assert plan.report.ratio == Fraction(7, 150)


@pytest.mark.skipif(MACHINES is None, reason="COLLSCHED_MACHINES names no directory of real machines' files")
def test_a_graph_file_is_no_topology():
    with pytest.raises(InputError, match="NCCL_GRAPH_FILE"):
        import_topology([str(Path(MACHINES or "") / "azure_ncv4-graph.xml")])
