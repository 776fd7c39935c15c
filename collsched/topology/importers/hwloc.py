"""hwloc XML (`lstopo --whole-io host.xml`): GPUs, NICs, the links between GPUs, and PCIe.

The matrix NVLinkBandwidth or XGMIBandwidth is in MB/s, `pci_link_speed` in GB/s. NVSwitches stay apart, as in the file;
a CPU package that GPUs have NVLinks to is a node too. NICs are the devices for RDMA, which hwloc calls OpenFabrics.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import partial

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import MAX_GPUS, Host, Port, Rate, Request, Vertex, Wire
from collsched.topology.importers.links import connected, joined_sockets
from collsched.topology.importers.pcie import Device, plant
from collsched.topology.importers.smi import add_nics
from collsched.topology.importers.xml import Element, parse_xml

_GPU = re.compile(r"(nvml|cuda|rsmi)\d+", re.ASCII)
_MATRIX = re.compile(r"(NVLink|XGMI)Bandwidth")
_INFINIBAND = "0207"  # PCI class
_MAX_RATE = 10**9  # MB/s


def read(text: str, source: Source, request: Request) -> Host:
    """The machine in an hwloc XML file. Raises TopologyError with the line."""
    root = parse_xml(text, source)
    host, names, sockets = Host(), dict[str, str](), list[str]()
    gpus = _devices(root, host, names, sockets, source)
    found = (element for element in root.walk() if element.tag.startswith("distances"))
    matrix = next((element for element in found if _MATRIX.fullmatch(element.get("name"))), None)
    if matrix is not None:
        _links(matrix, host, names, source)
    used = {name for wire in host.wires for name in (wire.a, wire.b)}
    host.nodes = {name: vertex for name, vertex in host.nodes.items() if name in used or name in gpus}
    sockets = [name for name in sockets if name in used]
    if not connected(host, gpus) and sockets:
        joined_sockets(host, sockets, request)
    if not connected(host, gpus):
        _join_switches(host, request)
    _pcie(root, host, names, gpus, source, request)
    return host


def _pcie(root: Element, host: Host, names: dict[str, str], gpus: list[str], source: Source, request: Request) -> None:
    """PCIe, where it is needed: to reach NICs, or to join GPUs that nothing else joins."""
    cpus = _trees(root, names, source, request)
    nics = [device for cpu in cpus for device in cpu.walk() if device.kind == "nic"] if request.networked else []
    for number, nic in enumerate(nics):
        nic.name = f"nic{number}"
    joined = connected(host, gpus)
    if nics or not joined:
        used = plant(host, cpus, ("gpu", "nic") if nics else ("gpu",), source)
        if not joined:
            joined_sockets(host, used, request)
    else:
        host.notes.append("PCIe is left out: NVLink joins all GPUs, and NICs are not needed or not in the file")
    if nics:
        rate = request.rate("nic-rate", "GB/s of a NIC; the file does not tell it")
        host.nics = [Port(nic.name, rate) for nic in nics]
    elif request.networked:
        add_nics(host, gpus, request)


def _trees(root: Element, names: dict[str, str], source: Source, request: Request) -> list[Device]:
    """The PCIe devices of every package, and last of the machine, where they are in no package."""
    machine, packages = Device(root, "cpu"), list[Device]()
    openfabrics = "3" if root.get("version").startswith("2") else "32"  # hwloc 3 has flags instead of numbers

    def collect(element: Element, parent: Device) -> None:
        for child in element.children:
            device, kind = parent, child.get("type")
            if kind == "Package":
                device = Device(child, "cpu")
                packages.append(device)
            elif kind in ("Bridge", "PCIDev"):
                inside = list(child.all("object"))
                name = names.get(child.get("gp_index"), "")
                fast = any(found.get("osdev_type") == openfabrics for found in inside)
                is_nic = fast or child.get("pci_type").startswith(_INFINIBAND)
                what = "gpu" if name.startswith("gpu") else "nic" if is_nic else "other"
                device = Device(child, "bridge" if kind == "Bridge" else what, name=name)
                # A host bridge is part of its CPU.
                if kind == "PCIDev" or child.get("bridge_type") != "0-1":
                    device.rate = partial(_link_speed, child, source, request)
                parent.below.append(device)
            collect(child, device)

    collect(root, machine)
    return [*packages, machine]


def _link_speed(element: Element, source: Source, request: Request) -> Rate:
    text = element.get("pci_link_speed")
    if not re.fullmatch(r"\d{1,4}(\.\d{1,9})?", text, re.ASCII) or not Fraction(text):
        return request.rate("pcie-rate", "GB/s of the PCIe links whose speed the file leaves out")
    return Rate(Fraction(text), f"{source.name}:{element.line} pci_link_speed={text}")


def _join_switches(host: Host, request: Request) -> None:
    """Boards of NVSwitches that the matrix does not join, as those of a DGX-2: by one switch, from --uplink-rate."""
    switches = [name for name in host.nodes if name.startswith("nvswitch")]
    if not switches:
        return
    rate = request.rate("uplink-rate", "GB/s from one NVSwitch to those of other boards; the file does not tell it")
    host.nodes["nvfabric"] = Vertex("switch", "joins the NVSwitches; the file does not tell what does")
    host.notes.append("the file does not tell what joins its NVSwitches: one switch, at the rate of --uplink-rate")
    host.wires += [Wire(name, "nvfabric", rate) for name in switches]


def _devices(root: Element, host: Host, names: dict[str, str], sockets: list[str], source: Source) -> list[str]:
    """Nodes for GPUs, NVSwitches and packages; `names` maps the objects of each, by gp_index, to them."""
    gpus: list[str] = []
    switches = 0
    for element in root.walk():
        kind, where = element.get("type"), f"{source.name}:{element.line} {element.get('pci_busid')}".rstrip()
        inside = [child for child in element.all("object") if child.get("type") == "OSDev"]
        if kind == "Package":
            sockets.append(f"cpu{len(sockets)}")
            host.nodes[sockets[-1]] = Vertex("switch", where)
            names[element.get("gp_index")] = sockets[-1]
        elif kind == "PCIDev" and element.get("subtype") == "NVSwitch":
            host.nodes[f"nvswitch{switches}"] = Vertex("switch", where)
            names[element.get("gp_index")] = f"nvswitch{switches}"
            switches += 1
        elif kind == "PCIDev" and any(_GPU.fullmatch(child.get("name")) for child in inside):
            gpus.append(f"gpu{len(gpus)}")
            host.nodes[gpus[-1]] = Vertex("rank", where)
            names.update((found.get("gp_index"), gpus[-1]) for found in (element, *inside))
    if not 1 <= len(gpus) <= MAX_GPUS:
        raise TopologyError(
            f"{source.name}: {len(gpus)} GPUs; allowed are 1 to {MAX_GPUS}, seen by an lstopo with nvml, cuda or rsmi; "
            "run lstopo with those plugins"
        )
    return gpus


def _links(matrix: Element, host: Host, names: dict[str, str], source: Source) -> None:
    objects = " ".join(child.text for child in matrix.all("indexes")).split()
    values = " ".join(child.text for child in matrix.all("u64values")).split()
    if len(values) != len(objects) ** 2 or not all(value.isascii() and value.isdigit() for value in values):
        raise source.error(
            matrix.line,
            f"{len(values)} values for {len(objects)} objects; allowed are numbers for all pairs; export it again",
        )
    nodes = [names.get(text.rpartition(":")[2]) for text in objects]
    for at, text in enumerate(values):
        a, b = nodes[at // len(nodes)], nodes[at % len(nodes)]
        if a is None or b is None or a == b or not text.strip("0"):
            continue
        if len(text) > 10 or int(text) > _MAX_RATE:
            raise source.error(matrix.line, f"{text[:20]} MB/s; allowed are up to {_MAX_RATE}; export it again")
        rate = Rate(Fraction(int(text), 1000), f"{source.name}:{matrix.line} {matrix.get('name')} {text} MB/s")
        host.wires.append(Wire(a, b, rate, both=False))
