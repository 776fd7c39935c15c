"""`rocm-smi --showtopo`: blocks of weight, hops and link type between GPUs. It tells no rate.

One hop over xGMI need not be a direct link, so the links are asked for, as --nvlinks.
"""

from __future__ import annotations

import re

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import MAX_GPUS, Host, Rate, Request, Vertex, Wire
from collsched.topology.importers.links import asked_nvlinks, connected, joined_sockets
from collsched.topology.importers.smi import add_nics

_TITLE = re.compile(r"=+ ?([A-Za-z ]+?) ?=+", re.ASCII)
_NUMA = re.compile(r"GPU\[(\d{1,4})\]\s*: \(Topology\) Numa Node: (-?\d{1,4})", re.ASCII)
_GPU = re.compile(r"GPU(\d{1,4})", re.ASCII)


def read(text: str, source: Source, request: Request) -> Host:
    """The machine in the output of `rocm-smi --showtopo`. Raises TopologyError with the line."""
    types, numa = _parse(text, source)
    host = Host()
    gpus = [f"gpu{number}" for number in range(len(types))]
    for number, gpu in enumerate(gpus):
        host.nodes[gpu] = Vertex("rank", f"{source.name}: GPU{number}, NUMA node {numa.get(number, 'not told')}")
    if any("XGMI" in row for row in types):
        asked_nvlinks(host, gpus, request, source.name)
    if not connected(host, gpus) and not request.missing:
        _pcie(host, gpus, numa, source, request)
    if request.networked:
        add_nics(host, gpus, request)
    return host


def _parse(text: str, source: Source) -> tuple[list[list[str]], dict[int, int]]:
    """The block of link types, row by row, and the NUMA node of each GPU."""
    section, rows, columns = "", list[list[str]](), 0
    numa: dict[int, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        title, node = _TITLE.fullmatch(line.strip()), _NUMA.match(line)
        if title is not None:
            section = title[1].lower()
        elif node is not None:
            numa[int(node[1])] = int(node[2])
        elif section.startswith("link type") and words and _GPU.fullmatch(words[0]):
            if not columns:
                columns = len(words)
                continue
            cells = words[1:]
            if len(cells) != columns or words[0] != f"GPU{len(rows)}" or set(cells) - {"0", "PCIE", "XGMI"}:
                raise source.error(
                    number,
                    f"row {words[0]!r} of the link types is out of order or incomplete; allowed are {columns} of 0, "
                    "PCIE and XGMI; copy the whole output",
                )
            rows.append(cells)
    if not rows or len(rows) != columns or len(rows) > MAX_GPUS:
        raise TopologyError(
            f"{source.name}: {len(rows)} rows of link types for {columns} GPUs; allowed is one each; copy all of it"
        )
    return rows, numa


def _pcie(host: Host, gpus: list[str], numa: dict[int, int], source: Source, request: Request) -> None:
    """Each GPU on the CPU of its NUMA node."""
    rate = request.rate("pcie-rate", "GB/s of a GPU's PCIe link, one direction; the file does not tell it")
    cpus: list[str] = []
    for number, gpu in enumerate(gpus):
        cpu = f"cpu{max(numa.get(number, 0), 0)}"
        if cpu not in host.nodes:
            host.nodes[cpu] = Vertex("switch", f"{source.name}: NUMA node")
            cpus.append(cpu)
        host.wires.append(Wire(gpu, cpu, Rate(rate.value, f"{rate.source}; {source.name}: GPU{number} on {cpu}")))
    joined_sockets(host, cpus, request)
