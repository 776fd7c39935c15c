"""Links between the GPUs of a host that several importers share: NVLinks as asked for, sockets, reachability."""

from __future__ import annotations

import re
from itertools import combinations

from collsched.errors import InputError
from collsched.topology.importers.draft import Host, Request, Vertex, Wire, per_link, whole

_PAIR = re.compile(r"(\d{1,4})-(\d{1,4}):(\d{1,3})", re.ASCII)


def connected(host: Host, nodes: list[str]) -> bool:
    """Whether the links of the host join these nodes, directions aside."""
    parent = {node: node for node in host.nodes}

    def root(node: str) -> str:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for wire in host.wires:
        parent[root(wire.a)] = root(wire.b)
    return len({root(node) for node in nodes}) <= 1


def asked_nvlinks(host: Host, gpus: list[str], request: Request, file: str) -> None:
    """NVLinks from --nvlinks: a number for each GPU to the NVSwitch, 0 for none, or pairs such as 0-1:2,0-2:1."""
    text = request.ask("nvlinks", f"{file} does not tell them: links of a GPU to the NVSwitch, 0, or pairs 0-1:2,0-3:1")
    if text is None:
        request.ask("nvlink-rate", "GB/s of one NVLink, one direction; the file does not tell it")
        return
    if text == "0":
        return
    one = request.rate("nvlink-rate", "GB/s of one NVLink, one direction; the file does not tell it")
    if re.fullmatch(r"\d+", text, re.ASCII):
        count = whole(text, "--nvlinks", 1, 1024)
        host.nodes["nvswitch"] = Vertex("switch", f"--nvlinks {text}")
        host.wires += [Wire(gpu, "nvswitch", per_link(count, one, f"--nvlinks {text}")) for gpu in gpus]
        return
    for word in text.split(","):
        match = _PAIR.fullmatch(word)
        if match is None or not int(match[1]) != int(match[2]) or max(int(match[1]), int(match[2])) >= len(gpus):
            raise InputError(
                f"--nvlinks {text!r} has {word!r}; allowed are a number or pairs of different GPUs from 0 to "
                f"{len(gpus) - 1} with their links; write for example 0-1:2,0-2:1"
            )
        rate = per_link(whole(match[3], "--nvlinks", 1, 1024), one, f"--nvlinks {word}")
        host.wires.append(Wire(gpus[int(match[1])], gpus[int(match[2])], rate))


def joined_sockets(host: Host, sockets: list[str], request: Request) -> None:
    """Links between all pairs of CPUs, from --cpu-rate."""
    if len(sockets) > 1:
        rate = request.rate("cpu-rate", "GB/s between two CPU sockets, one direction; data must cross them")
        host.wires += [Wire(a, b, rate) for a, b in combinations(sockets, 2)]
