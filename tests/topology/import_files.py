"""Small files of every format that can be imported, made up for tests, and what completes those that lack something."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A file, the options it needs, and ranks, nodes and links of what comes out."""

    text: str
    size: tuple[int, int, int]
    given: dict[str, str] = field(default_factory=dict)


_NCCL = """<!-- two GPUs on an NVSwitch -->
<system version="1">
  <cpu numaid="0" arch="x86_64">
    <pci busid="0000:10:00.0" class="0x060400" link_speed="16 GT/s" link_width="16">
      <pci busid="0000:11:00.0" class="0x030200" link_speed="16.0 GT/s PCIe" link_width="16">
        <gpu dev="0" sm="80" rank="0"><nvlink target="0000:a0:00.0" count="6" tclass="0x068000"/>
          <nvlink target="0000:a1:00.0" count="6" tclass="0x068000"/></gpu>
      </pci>
      <pci busid="0000:12:00.0" class="0x030200" link_speed="16 GT/s" link_width="16">
        <gpu dev="1" sm="80" rank="1"><nvlink target="0000:a0:00.0" count="12" tclass="0x068000"/></gpu>
      </pci>
      <pci busid="0000:13:00.0" class="0x020700" link_speed="16 GT/s" link_width="16">
        <nic><net name="mlx5_0" dev="0" speed="200000" port="1"/></nic>
      </pci>
    </pci>
  </cpu>
</system>
"""
_RCCL = """<system version="2">
  <cpu numaid="0">
    <pci busid="0000:c1:00.0" class="0x038000" link_speed="16.0 GT/s PCIe" link_width="16">
      <gpu dev="1" gcn="910" rank="1"><xgmi target="0000:C5:00.0" count="2" tclass="0x038000"/></gpu>
    </pci>
    <pci busid="0000:c5:00.0" class="0x038000" link_speed="16.0 GT/s PCIe" link_width="16">
      <gpu dev="0" gcn="910" rank="0"><xgmi target="0000:c1:00.0" count="2" tclass="0x038000"/></gpu>
    </pci>
  </cpu>
</system>
"""
_CLOUD = """<system version="1">
  <cpu numaid="0">
    <pci busid="ffff:ff:01.0" class="0x060400" link_speed="8 GT/s" link_width="16">
      <pci busid="0000:10:1c.0" class="0x030200" link_speed="8 GT/s" link_width="16"/>
      <pci busid="0000:10:1d.0" class="0x030200" link_speed="8 GT/s" link_width="0"/>
    </pci>
  </cpu>
  <cpu numaid="1"><pci busid="0000:20:1c.0" class="0x030200" link_speed="8 GT/s" link_width="8"/></cpu>
</system>
"""
_CLASSLESS = """<system version="1"><cpu numaid="0">
  <pci busid="0000:45:00.0"><pci busid="0000:4f:00.0" link_speed="32 GT/s PCIe/s" link_width="16"/></pci>
  <pci busid="0000:56:00.0"><pci busid="0000:60:00.0" link_speed="32 GT/s PCIe/s" link_width="16"/></pci>
</cpu></system>
"""
_SMI = """\tGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\tNUMA Affinity
GPU0\t X \tNV2\tSYS\tPIX\t0-31\t0
GPU1\tNV2\t X \tSYS\tPIX\t0-31\t0
GPU2\tSYS\tSYS\t X \tSYS\t32-63\t1
NIC0\tPIX\tPIX\tSYS\t X \t\t

Legend:

  X    = Self
  NIC0: mlx5_0
"""
_UNIFORM = """      GPU0  GPU1  CPU Affinity
GPU0   X    NV18  0-51
GPU1  NV18   X    0-51
"""
_ROCM = """======= ROCm System Management Interface =======
======= Weight between two GPUs =======
       GPU0         GPU1
GPU0   0            {weight}
GPU1   {weight}           0

======= Link Type between two GPUs =======
       GPU0         GPU1
GPU0   0            {kind}
GPU1   {kind}         0

======= Numa Nodes =======
GPU[0]\t\t: (Topology) Numa Node: 0
GPU[1]\t\t: (Topology) Numa Node: 1
======= End of ROCm SMI Log =======
"""
_TREE = """# a tree
SwitchName=top Switches=leaf[1-2]
SwitchName=leaf1 Nodes=n[08-10],login
SwitchName=leaf2 Nodes=n11 # one
"""
_BLOCKS = "BlockName=b1 Nodes=n[1-2]\nBlockName=b2 Nodes=n[3-4]\nBlockSizes=2,4\n"
_TOPOGRAPH = """switches:
  S1:
    switches: [S2, S3]
blocks:
- switch: S2
  nodes: ["I[21-22]", I25]
- switch: S3
  nodes:
  - I34
"""

_IBNET = """# Topology file
vendid=0x2c9
Switch\t4 "S-01"\t\t# "leaf" enhanced port 0 lid 1 lmc 0
[1]\t"H-0a"[1](0a) \t\t# "n1 mlx5_0" lid 3 4xNDR
[2]\t"H-0b"[1](0b) \t\t# "n2 HCA-1" lid 4 4xHDR
[3]\t"S-02"[1]\t\t# "spine" lid 2 4xNDR
[4]\t"S-02"[2]\t\t# "spine" lid 2 4xNDR
[5]\t"H-0d"[1](0d) \t\t# "MT4129 ConnectX7   Mellanox Technologies" lid 6 4xNDR
[65]\t"H-0c"[1](0c) \t\t# "Mellanox Technologies Aggregation Node" lid 5 4xNDR

Switch\t4 "S-02"\t\t# "spine" enhanced port 0 lid 2 lmc 0
[1]\t"S-01"[3]\t\t# "leaf" lid 1 4xNDR
[2]\t"S-01"[4]\t\t# "leaf" lid 1 4xNDR

Ca\t1 "H-0c"\t\t# "Mellanox Technologies Aggregation Node"
[1](0c) \t"S-01"[65]\t\t# lid 5 lmc 0 "leaf" lid 1 4xNDR

Ca\t1 "H-0d"\t\t# "MT4129 ConnectX7   Mellanox Technologies"
[1](0d) \t"S-01"[5]\t\t# lid 6 lmc 0 "leaf" lid 1 4xNDR

Ca\t1 "H-0a"\t\t# "n1 mlx5_0"
[1](0a) \t"S-01"[1]\t\t# lid 3 lmc 0 "leaf" lid 1 4xNDR

Ca\t1 "H-0b"\t\t# "n2 HCA-1"
[1](0b) \t"S-01"[2]\t\t# lid 4 lmc 0 "leaf" lid 1 4xHDR
"""

_HWLOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
  <object type="Machine" gp_index="1">
    <object type="Package" gp_index="3">
      <object type="PCIDev" gp_index="10" pci_busid="0000:01:00.0">
        <object type="OSDev" gp_index="11" name="nvml0"/></object>
      <object type="PCIDev" gp_index="30" subtype="NVSwitch" pci_busid="0000:61:00.0"/>
    </object>
    <object type="Package" gp_index="4">
      <object type="PCIDev" gp_index="20" pci_busid="0000:02:00.0">
        <object type="OSDev" gp_index="21" name="nvml1"/></object>
    </object>
  </object>
  <distances2hetero nbobjs="3" kind="25" name="{name}">
    <indexes length="20">{objects} </indexes>
    <u64values length="20">1000000 {ab} {ac} {ab} 1000000 </u64values>
    <u64values length="9">{bc} {ac} {bc} 0 </u64values>
  </distances2hetero>
</topology>
"""
_SWITCHED = _HWLOC.format(name="NVLinkBandwidth", objects="OSDev:11 OSDev:21 PCIDev:30", ab=0, ac=25000, bc=50000)
_SOCKETS = """<topology version="2.0"><object type="Machine" gp_index="1">
  <object type="{switch}" subtype="{subtype}" gp_index="3">
    <object type="PCIDev" gp_index="10"><object type="OSDev" gp_index="11" name="cuda0"/></object></object>
  <object type="{switch}" subtype="{subtype}" gp_index="4">
    <object type="PCIDev" gp_index="20"><object type="OSDev" gp_index="21" name="cuda1"/></object></object>
</object>
<distances2hetero name="NVLinkBandwidth">
  <indexes>OSDev:11 OSDev:21 {switch}:3 {switch}:4 </indexes>
  <u64values>0 0 40000 0 0 0 0 40000 40000 0 0 0 0 40000 0 0 </u64values>
</distances2hetero></topology>
"""
_BOARDS = _SOCKETS.format(switch="PCIDev", subtype="NVSwitch")
_SOCKETS = _SOCKETS.format(switch="Package", subtype="")
_BUSES = """<topology version="2.0"><object type="Machine" gp_index="1">
  <object type="Package" gp_index="3">
    <object type="Bridge" bridge_type="0-1" gp_index="5">
      <object type="Bridge" bridge_type="1-1" gp_index="6" pci_busid="0000:01:00.0" pci_link_speed="31.5">
        <object type="PCIDev" gp_index="10" pci_type="0302 [10de:20b0]" pci_link_speed="15.75">
          <object type="OSDev" gp_index="11" name="cuda0" osdev_type="5"/></object>
        <object type="PCIDev" gp_index="12" pci_type="0200 [15b3:101b]" pci_link_speed="31.5">
          <object type="OSDev" gp_index="13" name="mlx5_0" osdev_type="3"/></object>
        <object type="PCIDev" gp_index="14" pci_type="0200 [8086:1563]" pci_link_speed="4">
          <object type="OSDev" gp_index="15" name="eno1" osdev_type="2"/></object>
      </object>
    </object>
  </object>
  <object type="Package" gp_index="4">
    <object type="Group" gp_index="7"><object type="Bridge" bridge_type="0-1" gp_index="8">
      <object type="PCIDev" gp_index="20" pci_type="0302 [10de:20b0]" pci_link_speed="15.75">
        <object type="OSDev" gp_index="21" name="cuda1" osdev_type="5"/></object>
      <object type="PCIDev" gp_index="22" pci_type="0207 [15b3:101b]" pci_link_speed="63"/>
    </object></object>
  </object>
</object></topology>
"""
_GRAPHML = """<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="node" attr.name="kind" attr.type="string"><default>rank</default></key>
  <key id="d1" for="edge" attr.name="bandwidth" attr.type="string" />
  <key id="d2" for="edge" attr.name="latency" attr.type="double" />
  <graph edgedefault="undirected">
    <node id="a" /><node id="b" /><node id="s"><data key="d0">switch</data></node>
    <edge source="a" target="s"><data key="d1">200 Gbit/s</data><data key="d2">1.5</data></edge>
    <edge source="b" target="s"></edge>
  </graph>
</graphml>
"""
_NODE_LINK = """{"directed": true, "multigraph": false, "graph": {}, "nodes": [{"id": 0}, {"id": 1}],
 "links": [{"bandwidth": 12.5, "source": 0, "target": 1}, {"latency": 0.7, "source": 1, "target": 0}]}
"""

CASES: dict[str, Case] = {
    "nccl": Case(_NCCL, (2, 3, 4)),
    "rccl": Case(_RCCL, (2, 2, 2)),
    "cloud": Case(_CLOUD, (3, 4, 6), {"nvlinks": "12", "nvlink-rate": "25"}),
    "cloud-pcie": Case(_CLOUD, (3, 6, 10), {"nvlinks": "0", "cpu-rate": "20"}),
    "cloud-pairs": Case(_CLOUD, (3, 3, 4), {"nvlinks": "0-1:2,1-2:1", "nvlink-rate": "25"}),
    "classless": Case(
        _CLASSLESS,
        (4, 5, 8),
        {"classless": "nic", "gpus": "4", "pcie-rate": "63", "nvlinks": "18", "nvlink-rate": "25"},
    ),
    "smi": Case(_SMI, (3, 6, 12), {"nvlink-rate": "25", "pcie-rate": "16", "cpu-rate": "20"}),
    "smi-switch": Case(_UNIFORM, (2, 3, 4), {"nvlink-rate": "25", "nvlink-shape": "switch"}),
    "smi-mesh": Case(_UNIFORM, (2, 2, 2), {"nvlink-rate": "25", "nvlink-shape": "mesh"}),
    "rocm": Case(_ROCM.format(weight=52, kind="PCIE"), (2, 4, 6), {"pcie-rate": "32", "cpu-rate": "20"}),
    "rocm-xgmi": Case(_ROCM.format(weight=15, kind="XGMI"), (2, 2, 2), {"nvlinks": "0-1:1", "nvlink-rate": "50"}),
    "hwloc": Case(_SWITCHED, (2, 3, 4)),
    "hwloc-cpus": Case(_SOCKETS, (2, 4, 6), {"cpu-rate": "32"}),
    "hwloc-pcie": Case(_BUSES, (2, 4, 6), {"cpu-rate": "20"}),
    "hwloc-boards": Case(_BOARDS, (2, 5, 8), {"uplink-rate": "200"}),
    "graphml": Case(_GRAPHML, (2, 3, 4), {"link-rate": "25"}),
    "node-link": Case(_NODE_LINK, (2, 2, 2), {"link-rate": "25"}),
    "ibnet": Case(_IBNET, (2, 4, 6), {"hosts-are-ranks": "", "unnamed": "leave-out"}),
    "slurm": Case(_TREE, (5, 8, 14), {"hosts-are-ranks": "", "link-rate": "25", "uplink-rate": "100"}),
    "slurm-blocks": Case(_BLOCKS, (4, 7, 12), {"hosts-are-ranks": "", "link-rate": "25", "uplink-rate": "100"}),
    "topograph": Case(_TOPOGRAPH, (4, 7, 12), {"hosts-are-ranks": "", "link-rate": "25", "uplink-rate": "100"}),
}
