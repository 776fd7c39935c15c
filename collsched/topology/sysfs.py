"""What Linux tells of a machine in /sys, without root: PCI devices, their links and NUMA nodes, and the NICs on them.

The tree of bridges is that of the paths below /sys/devices. Link speeds are the largest that both ends support
(max_link_speed), since links of idle devices may run slower. Nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

_BUS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.ASCII)
_VGA, _NVSWITCH, _BRIDGE, _NETWORK = "0x0300", "0x0680", "0x0604", "0x02"
_COMPUTE = ("0x0302", "0x0380", "0x1200")  # 3D and other display controllers, processing accelerators
NVIDIA, AMD = "0x10de", "0x1002"
_RATE = re.compile(r"(\d{1,4})(?:\.\d)? Gb/sec", re.ASCII)
_LONGEST = 4096  # bytes of an attribute


@dataclass(frozen=True, slots=True)
class Device:
    """A PCI device. `path`: bus ids from the root port down to it. `speeds`: Mbit/s of its network ports that are up,
    `net`: the name of the first of them."""

    bus: str
    path: tuple[str, ...]
    code: str
    vendor: str
    speed: str
    width: str
    numa: int
    speeds: tuple[int, ...] = ()
    net: str = ""

    @property
    def gpu(self) -> bool:
        """Whether it computes: an accelerator, or a VGA controller of a vendor whose ones do."""
        return self.code.startswith(_COMPUTE) or (self.code.startswith(_VGA) and self.vendor in (NVIDIA, AMD))

    @property
    def display(self) -> bool:
        """Whether it is a VGA controller that does not count as a GPU, such as that of a management controller."""
        return self.code.startswith(_VGA) and not self.gpu

    @property
    def nvswitch(self) -> bool:
        return self.code.startswith(_NVSWITCH) and self.vendor == NVIDIA

    @property
    def nic(self) -> bool:
        """Whether it is a network controller with a port that is up."""
        return self.code.startswith(_NETWORK) and bool(self.speeds)


def devices(sysfs: Path) -> list[Device]:
    """All PCI devices below `sysfs`, by bus id; none where there is no PCI."""
    found = []
    for entry in sorted(_entries(sysfs / "bus" / "pci" / "devices")):
        if _BUS.fullmatch(entry.name):
            path = tuple(part for part in entry.resolve().parts if _BUS.fullmatch(part)) or (entry.name,)
            name, speeds = _ports(entry)
            words = (_text(entry / word) for word in ("class", "vendor", "max_link_speed", "max_link_width"))
            code, vendor, speed, width = words
            numa = _text(entry / "numa_node")
            node = int(numa) if re.fullmatch(r"-?\d{1,4}", numa, re.ASCII) else -1
            found.append(Device(entry.name, path, code, vendor, speed, width, max(0, node), speeds, name))
    return found


def _ports(entry: Path) -> tuple[str, tuple[int, ...]]:
    """Name and Mbit/s of the ports that are up: of InfiniBand and RoCE devices, else of network interfaces."""
    for device in sorted(_entries(entry / "infiniband")):
        ports = [port for port in sorted(_entries(device / "ports")) if "ACTIVE" in _text(port / "state")]
        rates = [_RATE.match(_text(port / "rate")) for port in ports]
        return device.name, tuple(int(rate[1]) * 1000 for rate in rates if rate is not None)
    nets = [net for net in sorted(_entries(entry / "net")) if _text(net / "operstate") == "up"]
    speeds = [(net.name, _text(net / "speed")) for net in nets]
    known = [(name, int(text)) for name, text in speeds if re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII)]
    return (known[0][0] if known else ""), tuple(speed for _, speed in known)


def to_xml(found: Sequence[Device]) -> str:
    """GPUs and NICs with all bridges above them, as NCCL writes a machine; NVLinks are not known here."""
    known = {device.bus: device for device in found}
    wanted = [device for device in found if device.gpu or device.nic]
    lines = ['<system version="1">']
    for node in sorted({device.numa for device in wanted}):
        lines.append(f'  <cpu numaid="{node}">')
        lines += _tree([device for device in wanted if device.numa == node], known, 0)
        lines.append("  </cpu>")
    return "\n".join([*lines, "</system>", ""])


def _tree(wanted: Sequence[Device], known: dict[str, Device], level: int) -> Iterator[str]:
    """An element for each device at this level of the paths, around those below it."""
    groups: dict[str, list[Device]] = {}
    for device in wanted:
        groups.setdefault(device.path[level], []).append(device)
    for bus, members in groups.items():
        here = known.get(bus)
        told = {} if here is None else {"class": here.code, "link_speed": here.speed, "link_width": here.width}
        text = " ".join(f"{name}={quoteattr(value)}" for name, value in ({"busid": bus} | told).items())
        below = [member for member in members if member.bus != bus]
        lead = "  " * (level + 2)
        if below:
            yield f"{lead}<pci {text}>"
            yield from _tree(below, known, level + 1)
            yield f"{lead}</pci>"
        elif members[0].nic:
            nets = "".join(f'<net name={quoteattr(members[0].net)} speed="{speed}"/>' for speed in members[0].speeds)
            yield f"{lead}<pci {text}><nic>{nets}</nic></pci>"
        else:
            yield f"{lead}<pci {text}/>"


def architecture(sysfs: Path) -> str | None:
    """The architecture of all AMD GPUs that the kernel's compute driver knows, such as gfx942; None if not one."""
    found = set()
    for node in _entries(sysfs / "class" / "kfd" / "kfd" / "topology" / "nodes"):
        match = re.search(r"^gfx_target_version (\d{5,6})$", _text(node / "properties"), re.MULTILINE | re.ASCII)
        if match is not None:
            version = int(match[1])
            found.add(f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}")
    return found.pop() if len(found) == 1 else None


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str:
    """An attribute of a device; empty where it cannot be read, as the speed of a network interface that is down."""
    try:
        with file.open("rb") as opened:
            return opened.read(_LONGEST).decode("ascii", "replace").strip()
    except OSError:
        return ""
