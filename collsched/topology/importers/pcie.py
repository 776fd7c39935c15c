"""The PCIe devices of a host as a tree, and the links that they make: for formats that keep them in XML.

cpu ── bridge ── bridge ─┬─ gpu           cpu0 ── pcie0 ─┬─ gpu0
                         └─ bridge ─ nic                 └─ nic0
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from collsched.topology.document import Source
from collsched.topology.importers.draft import Host, Rate, Vertex, Wire, slower
from collsched.topology.importers.xml import Element


@dataclass(slots=True)
class Device:
    """A CPU at the top, or a PCIe device. `rate()`: of its link to what is above, None where there is no limit; called
    for devices that lead to something of use alone, as it may ask the user."""

    element: Element
    kind: str  # cpu, bridge, gpu, nic, other, unknown
    rate: Callable[[], Rate | None] = lambda: None
    below: list[Device] = field(default_factory=list)
    name: str = ""  # of GPUs and NICs

    def walk(self) -> Iterator[Device]:
        yield self
        for device in self.below:
            yield from device.walk()


def plant(host: Host, cpus: list[Device], kinds: Collection[str], source: Source) -> list[str]:
    """Nodes and links for every CPU that devices of these kinds are below, and for all on the way; the CPUs' names."""
    used: list[str] = []
    for number, cpu in enumerate(cpus):
        children = _useful(cpu, kinds)
        if children:
            used.append(f"cpu{number}")
            host.nodes[used[-1]] = Vertex("switch", f"{source.name}:{cpu.element.line}")
        for device in children:
            _branch(host, device, used[-1], None, kinds, source)
    return used


def _useful(device: Device, kinds: Collection[str]) -> list[Device]:
    return [child for child in device.below if any(found.kind in kinds for found in child.walk())]


def _branch(
    host: Host, device: Device, parent: str, above: Rate | None, kinds: Collection[str], source: Source
) -> None:
    """Links a device and all below it to `parent`; bridges that lead to one thing only are passed through."""
    where = f"{source.name}:{device.element.line}"
    rate = slower(above, device.rate())
    if device.kind in ("gpu", "nic"):
        if device.kind == "nic":
            host.nodes[device.name] = Vertex("switch", where)
        if rate is not None:
            host.wires.append(Wire(device.name, parent, rate))
        return
    children = _useful(device, kinds)
    if len(children) > 1 and rate is not None:
        name = f"pcie{sum(node.startswith('pcie') for node in host.nodes)}"
        bus = device.element.get("busid") or device.element.get("pci_busid")
        host.nodes[name] = Vertex("switch", f"{where} busid={bus}")
        host.wires.append(Wire(name, parent, rate))
        parent, rate = name, None
    for child in children:
        _branch(host, child, parent, rate, kinds, source)
