"""`nvidia-smi topo -m`: a matrix of NV#, PIX, PXB, PHB, NODE and SYS. It tells no rate, and no switch from a mesh."""

from __future__ import annotations

import re

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import MAX_GPUS, Host, Port, Rate, Request, Vertex, Wire, per_link
from collsched.topology.importers.links import connected, joined_sockets

_NAME = re.compile(r"(GPU|NIC|mlx\d+_|bnxt_re|rdmap|efa_|cxi)\w{0,32}", re.ASCII)
_CELL = re.compile(r"X|NV\d{1,3}|PIX|PXB|PHB|NODE|SYS", re.ASCII)
_AFFINITY = "CPU Affinity"
_ESCAPE = re.compile(r"\x1b\[[\d;]*m")
_NVLINK_RATE = "GB/s of one NVLink, one direction; the file does not tell it"
_PCIE_RATE = "GB/s of a PCIe link, one direction; the file does not tell it"


def read(text: str, source: Source, request: Request) -> Host:
    """The machine in the output of `nvidia-smi topo -m`. Raises TopologyError with the line."""
    rows = _matrix(text, source)
    host = Host()
    gpus = [name for name in rows if name.startswith("GPU")]
    nics = [name for name in rows if not name.startswith("GPU")]
    for gpu in gpus:
        host.nodes[gpu.lower()] = Vertex("rank", f"{source.name}: {gpu}")
    _nvlinks(host, rows, gpus, source, request)
    joined = connected(host, [gpu.lower() for gpu in gpus])
    if not joined or (request.networked and nics):
        _pcie(host, rows, gpus + (nics if request.networked else []), source, request, joined)
    if request.networked and nics:
        rate = request.rate("nic-rate", "GB/s of a NIC; the file does not tell it")
        host.nics = [Port(nic, rate) for nic in nics]
    elif request.networked:
        add_nics(host, [gpu.lower() for gpu in gpus], request)
    return host


def add_nics(host: Host, gpus: list[str], request: Request) -> None:
    """NICs from --nics-per-gpu and --nic-rate, each linked to its GPU."""
    count = request.count("nics-per-gpu", "how many NICs each GPU has to itself; the file has none", 64)
    rate = request.rate("nic-rate", "GB/s of a NIC; the file does not tell it")
    for number in range((count or 0) * len(gpus)):
        name = f"nic{number}"
        host.nodes[name] = Vertex("switch", f"--nics-per-gpu {count}")
        host.wires.append(Wire(gpus[number // (count or 1)], name, rate))
        host.nics.append(Port(name, rate))


def _matrix(text: str, source: Source) -> dict[str, dict[str, str]]:
    """Row → column → cell, of GPUs and NICs. Names are those of the heading, in its order."""
    heading: list[str] = []
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(_ESCAPE.sub("", text).split("\n"), 1):
        words = line.split()
        if not heading and words[:1] == ["GPU0"]:
            heading = [word for word in words if _NAME.fullmatch(word)]
            if len(set(heading)) < len(heading) or len(heading) > 2 * MAX_GPUS:
                raise source.error(number, "the heading names a device twice, or too many; allowed is each name once")
        elif heading and words and words[0] in heading and words[0] not in rows:
            cells = words[1 : len(heading) + 1]
            wrong = next((cell for cell in cells if not _CELL.fullmatch(cell)), None)
            if wrong is not None or len(cells) < len(heading):
                found = f"{len(cells)} cells" if wrong is None else repr(wrong[:24])
                raise source.error(
                    number,
                    f"row {words[0]} has {found}; allowed are {len(heading)} of X, NV#, PIX, PXB, PHB, NODE and SYS; "
                    "copy the whole matrix",
                )
            rows[words[0]] = dict(zip(heading, cells, strict=True))
            rows[words[0]][_AFFINITY] = " ".join(words[len(heading) + 1 : len(heading) + 2])
    missing = next((name for name in heading if name not in rows), None)
    if missing is not None or not rows:
        raise TopologyError(f"{source.name}: no row for {missing or 'GPU0'}; allowed is one a device; copy all of it")
    return rows


def _nvlinks(host: Host, rows: dict[str, dict[str, str]], gpus: list[str], source: Source, request: Request) -> None:
    pairs = [(a, b, rows[a][b]) for a in gpus for b in gpus if a != b]
    counts = {cell for _, _, cell in pairs}
    if not any(cell.startswith("NV") for cell in counts):
        return
    one = request.rate("nvlink-rate", _NVLINK_RATE)
    shape = "mesh"
    if len(counts) == 1:
        why = f"all pairs say {pairs[0][2]}: links of a GPU to the NVSwitch (switch), or of each pair (mesh)"
        shape = request.ask("nvlink-shape", why) or shape
    if shape == "switch":
        rate = per_link(_links(pairs[0][2]), one, f"{source.name} {pairs[0][2]}, --nvlink-shape switch")
        host.nodes["nvswitch"] = Vertex("switch", "--nvlink-shape switch")
        host.wires += [Wire(gpu.lower(), "nvswitch", rate) for gpu in gpus]
        return
    for a, b, cell in pairs:
        if cell.startswith("NV") and _links(cell):
            rate = per_link(_links(cell), one, f"{source.name} row {a}, column {b}: {cell}")
            host.wires.append(Wire(a.lower(), b.lower(), rate, both=False))


def _links(cell: str) -> int:
    return int(cell[2:])


def _pcie(
    host: Host, rows: dict[str, dict[str, str]], devices: list[str], source: Source, request: Request, joined: bool
) -> None:
    """A switch for every group that PIX and PXB join, a CPU for every group that PHB and NODE join as well."""
    rate = request.rate("pcie-rate", _PCIE_RATE)
    near = _groups(rows, devices, ("PIX", "PXB"))
    sockets = _groups(rows, devices, ("PIX", "PXB", "PHB", "NODE"), affinity=True)
    names: list[str] = []
    for number, members in enumerate(sockets):
        cpu = f"cpu{number}"
        names.append(cpu)
        host.nodes[cpu] = Vertex("switch", f"{source.name}: joined by PHB, NODE or CPU affinity")
        for group in (group for group in near if group[0] in members):
            above = cpu
            if len(group) > 1:
                above = f"pcie{near.index(group)}"
                host.nodes[above] = Vertex("switch", f"{source.name}: joined by PIX and PXB")
                host.wires.append(Wire(above, cpu, rate))
            for device in group:
                name = device.lower() if device.startswith("GPU") else device
                host.nodes.setdefault(name, Vertex("switch", f"{source.name}: {device}"))
                host.wires.append(Wire(name, above, Rate(rate.value, f"{rate.source}; {source.name} row {device}")))
    if not joined:
        joined_sockets(host, names, request)


def _groups(
    rows: dict[str, dict[str, str]], devices: list[str], near: tuple[str, ...], affinity: bool = False
) -> list[list[str]]:
    """The devices in groups that these cells join, by way of any device; or that share a CPU affinity."""
    left, groups = dict.fromkeys(rows), []

    def joined(a: str, b: str) -> bool:
        return rows[a][b] in near or (affinity and rows[a][_AFFINITY] == rows[b][_AFFINITY] != "")

    while left:
        group = [next(iter(left))]
        del left[group[0]]
        for device in group:
            found = [other for other in left if joined(device, other)]
            group += found
            for other in found:
                del left[other]
        members = [device for device in devices if device in group]
        if members:
            groups.append(members)
    return groups
