"""NCCL and RCCL topology XML (NCCL_TOPO_DUMP_FILE, NCCL_TOPO_FILE).

    system / cpu / pci … / pci / gpu / nvlink | xgmi
                          └ pci / nic / net

Cloud vendors' files leave gpu, nvlink and net elements to be found at run time: NVLinks and NIC rates are asked for.
PCIe is part of the topology where several hosts are joined, or where NVLink does not join all GPUs.
"""

from __future__ import annotations

from fractions import Fraction

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers import rates
from collsched.topology.importers.draft import (
    MAX_GPUS,
    Host,
    Port,
    Rate,
    Request,
    Vertex,
    Wire,
    per_link,
)
from collsched.topology.importers.links import asked_nvlinks, connected, joined_sockets
from collsched.topology.importers.pcie import Device, plant
from collsched.topology.importers.xml import Element, parse_xml

_NVSWITCH = "0x068000"
_MAX_COUNT = 1024
_FASTEST_NIC = 3_200_000  # Mb/s; above, a file's unit is wrong


def read(text: str, source: Source, request: Request) -> Host:
    """The machine in an NCCL or RCCL topology file. Raises TopologyError."""
    root = parse_xml(text, source)
    if root.tag != "system":
        raise source.error(
            root.line,
            f"<{root.tag}> is not a topology but a graph that NCCL found (NCCL_GRAPH_FILE); allowed is <system>; "
            "run a program with NCCL_TOPO_DUMP_FILE=topo.xml set and import that file",
        )
    return _Reader(source, request).read(root)


class _Reader:
    def __init__(self, source: Source, request: Request) -> None:
        self.source, self.request, self.host = source, request, Host()
        self.gpus: list[Device] = []
        self.nics: list[Device] = []

    def read(self, root: Element) -> Host:
        cpus = [self._device(element, "cpu") for element in root.all("cpu")]
        if not cpus:
            raise self.source.error(root.line, "no <cpu> in <system>; allowed is one or more; dump the topology again")
        self._classify(cpus)
        self._number(cpus)
        if self.request.missing:
            return self.host
        self._nvlinks()
        if "nvlinks" in self.request.missing:
            return self.host
        joined = connected(self.host, [gpu.name for gpu in self.gpus])
        if self.request.networked or not joined:
            self._pcie(cpus, joined)
        else:
            self.host.notes.append("PCIe and NICs are left out: NVLink joins all GPUs of this one host")
        return self.host

    def _device(self, element: Element, kind: str) -> Device:
        device = Device(element, kind)
        if element.tag == "pci":
            device.rate = lambda: self._rate(element)
        for child in element.children:
            if child.tag == "pci":
                device.below.append(self._device(child, _kind(child)))
            elif child.tag == "nic" and element.tag == "cpu":
                device.below.append(self._bare_nic(child))
        return device

    def _bare_nic(self, element: Element) -> Device:
        """A NIC that is on no PCIe link: as fast as its ports."""
        nic = Device(element, "nic")
        nic.rate = lambda: self._net(nic)
        return nic

    def _classify(self, cpus: list[Device]) -> None:
        """Asks what the PCI devices without a class are."""
        unknown = [device for cpu in cpus for device in cpu.walk() if device.kind == "unknown"]
        if not unknown:
            return
        why = f"what the {len(unknown)} PCI devices without a class are, gpu, nic or neither"
        kind = self.request.ask("classless", why)
        for device in unknown:
            device.kind = kind if kind in ("gpu", "nic") else "other"

    def _number(self, cpus: list[Device]) -> None:
        """Finds GPUs and NICs and names them; in the order of `dev` where all have one, else of the file."""
        devices = [device for cpu in cpus for device in cpu.walk()]
        self.gpus = [device for device in devices if device.kind == "gpu"]
        self.nics = [device for device in devices if device.kind == "nic"]
        if not self.gpus and not self.request.missing:
            self._place(cpus)
        if len(self.gpus) > MAX_GPUS:
            raise TopologyError(f"{self.source.name}: {len(self.gpus)} GPUs; allowed are {MAX_GPUS} a host; split it")
        for devices, word, tag in ((self.gpus, "gpu", "gpu"), (self.nics, "nic", "net")):
            found = [_first(device.element, tag) for device in devices]
            if all(element is not None and "dev" in element.attributes for element in found):
                order = [element.number(self.source, "dev", 0, 10**6) for element in found if element is not None]
                devices[:] = [devices[i] for i in sorted(range(len(order)), key=order.__getitem__)]
            for number, device in enumerate(devices):
                device.name = f"{word}{number}"
        for gpu in self.gpus:
            bus = gpu.element.get("busid")
            about = f"{self.source.name}:{gpu.element.line}" + (f" busid={bus}" if gpu.element.tag == "pci" else "")
            self.host.nodes[gpu.name] = Vertex("rank", about)

    def _place(self, cpus: list[Device]) -> None:
        """GPUs that the file leaves out, spread over its PCIe switches in order."""
        count = self.request.count("gpus", "how many GPUs a host has; the file has none", MAX_GPUS)
        if count is None:
            return
        places = [device for cpu in cpus for device in cpu.walk() if any(d.kind == "nic" for d in device.below)]
        if not places or (count % len(places) and len(places) % count):
            raise TopologyError(
                f"{self.source.name}: {count} GPUs cannot be spread over {len(places)} PCIe switches; "
                "allowed is a multiple or a divisor of their number; correct --gpus"
            )
        rate = self.request.rate("pcie-rate", "GB/s of the PCIe links whose speed or width the file leaves out")
        for number in range(count):
            place = places[number * len(places) // count]
            gpu = Device(place.element, "gpu", lambda: rate)
            place.below.append(gpu)
            self.gpus.append(gpu)
        self.host.notes.append(f"the {count} GPUs of --gpus are spread over the PCIe switches in the order of the file")

    def _nvlinks(self) -> None:
        elements = [_first(gpu.element, "gpu") for gpu in self.gpus]
        if any(element is None for element in elements):
            asked_nvlinks(self.host, [gpu.name for gpu in self.gpus], self.request, self.source.name)
            return
        names = {gpu.element.get("busid").lower(): gpu.name for gpu in self.gpus}
        for gpu, element in zip(self.gpus, elements, strict=True):
            assert element is not None
            for link in element.children:
                if link.tag in ("nvlink", "xgmi"):
                    self._nvlink(gpu.name, element, link, names)

    def _nvlink(self, gpu: str, element: Element, link: Element, names: dict[str, str]) -> None:
        count = link.number(self.source, "count", 1, _MAX_COUNT)
        if link.tag == "xgmi":
            one = rates.xgmi(element.get("gcn"), self.request)
        else:
            one = rates.nvlink(element.get("sm"), self.request)
        rate = per_link(count, one, f"{self.source.name}:{link.line} {link.tag} count={count}")
        target, group = link.get("target").lower(), link.get("tclass")
        if group == _NVSWITCH:
            self.host.nodes.setdefault("nvswitch", Vertex("switch", "the NVSwitches of the host, as one"))
            self.host.wires.append(Wire(gpu, "nvswitch", rate))
        elif target in names and names[target] != gpu:
            self.host.wires.append(Wire(gpu, names[target], rate, both=False))
        else:
            raise self.source.error(
                link.line,
                f"<{link.tag}> of {gpu} leads to {target[:24]!r}; allowed are the bus ids of the other GPUs and "
                f"tclass={_NVSWITCH}; dump the topology on the machine again",
            )

    def _pcie(self, cpus: list[Device], joined: bool) -> None:
        used = plant(self.host, cpus, ("gpu", "nic") if self.request.networked else ("gpu",), self.source)
        if self.request.networked:
            self.host.nics = [Port(nic.name, self._net(nic)) for nic in self.nics]
        if not joined:
            joined_sockets(self.host, used, self.request)

    def _rate(self, element: Element) -> Rate:
        where = f"{self.source.name}:{element.line}"
        return rates.pcie(element.get("link_speed"), element.get("link_width"), where, self.request)

    def _net(self, nic: Device) -> Rate:
        """The rate of a NIC: of its ports together."""
        nets = [element for element in nic.element.walk() if element.tag == "net"]
        speeds = [element.get("speed") for element in nets]
        if not speeds or not all(speed.isascii() and speed.isdigit() and len(speed) <= 9 for speed in speeds):
            return self.request.rate("nic-rate", "GB/s of a NIC; the file does not tell it")
        total = sum(map(int, speeds))
        if not 0 < total <= _FASTEST_NIC:
            return self.request.rate("nic-rate", f"GB/s of a NIC; the file says {total} Mb/s, which cannot be")
        return Rate(Fraction(total, 8000), f"{self.source.name}:{nets[0].line} net speed={'+'.join(speeds)} Mb/s")


def _kind(element: Element) -> str:
    code = element.get("class")
    if next(element.all("gpu"), None) is not None:
        return "gpu"
    if next(element.all("nic"), None) is not None:
        return "nic"
    if next(element.all("pci"), None) is not None or code.startswith("0x0604"):
        return "bridge"
    if code.startswith(("0x03", "0x12")):
        return "gpu"
    return "nic" if code.startswith("0x02") else "other" if code else "unknown"


def _first(element: Element, tag: str) -> Element | None:
    return next((found for found in element.walk() if found.tag == tag), None) if element.tag != "cpu" else None
