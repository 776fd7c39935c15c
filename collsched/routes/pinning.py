"""Hand-over to what can pin a path: UDP source ports for RoCEv2, policy routing for IP hosts, segment lists for SRv6.

A RoCEv2 packet's UDP source port follows from the flow label of its queue pair as Linux computes it
(`rdma_flow_label_to_udp_sport`, `rdma_calc_flow_label` in include/rdma/ib_verbs.h). Where the hash of the switches is
known, ports are chosen by it; where it is not, they are found by probing.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType

from collsched.errors import InputError
from collsched.routes.model import Subflows
from collsched.routes.network import Network
from collsched.units import suggest

FIRST_PORT = 0xC000  # of the 2^14 that RoCEv2 uses
PORTS = 0x4000
ROCE_PORT = 4791
UDP = 17
LABELS = 1 << 20
FIRST_TABLE = 1000  # of the routing tables that scripts fill

Address = IPv4Address | IPv6Address
Hash = Callable[[bytes], int]

HASHES: Mapping[str, Hash] = MappingProxyType(
    {"crc32": zlib.crc32, "crc16": lambda data: binascii.crc_hqx(data, 0xFFFF)}
)


def udp_source_port(flow_label: int) -> int:
    """The UDP source port of a flow label (20 bits), as Linux folds it: 14 low bits, the 6 high ones on top of them."""
    if not 0 <= flow_label < LABELS:
        raise InputError(f"flow label is {flow_label}; allowed is from 0 to {LABELS - 1}; it has 20 bits")
    return FIRST_PORT | ((flow_label & 0x3FFF) ^ (flow_label >> 14))


def flow_label_of_queue_pairs(local: int, remote: int) -> int:
    """The flow label that Linux gives a connection that has none: from the numbers of its two queue pairs."""
    product = local * remote
    product ^= product >> 20
    product ^= product >> 40
    return product & (LABELS - 1)


def flow_label_of_port(port: int) -> int:
    """A flow label above 0 (0 stands for none) whose UDP source port is `port`."""
    if not FIRST_PORT <= port < FIRST_PORT + PORTS:
        raise InputError(f"port is {port}; allowed is from {FIRST_PORT} to {FIRST_PORT + PORTS - 1}; RoCEv2 uses these")
    return port - FIRST_PORT or (1 << 14) | 1


def probe_budget(paths: int) -> Fraction:
    """Ports to be tried, on average, until an unknown uniform hash has hit each of `paths` paths: s · (1 + 1/2 + … +
    1/s)."""
    if paths < 1:
        raise InputError(f"{paths} paths; allowed is 1 or more; count the paths of a flow")
    return paths * sum((Fraction(1, count) for count in range(1, paths + 1)), Fraction(0))


def hash_bucket(hash: Hash, src: Address, dst: Address, port: int, buckets: int) -> int:
    """The next hop, from 0, of a RoCEv2 packet under a hash of addresses, protocol and ports in network order."""
    fields = src.packed + dst.packed + bytes([UDP]) + port.to_bytes(2, "big") + ROCE_PORT.to_bytes(2, "big")
    return hash(fields) % buckets


def port_of_path(hash: Hash, src: Address, dst: Address, path: int, paths: int) -> int:
    """The lowest UDP source port that leads to next hop `path` of `paths`. Raises InputError where none does."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        if hash_bucket(hash, src, dst, port, paths) == path:
            return port
    raise InputError(f"no UDP source port leads from {src} to {dst} over path {path} of {paths}; use another hash")


@dataclass(frozen=True, slots=True)
class Book:
    """Addresses by node name: of ranks, of switches as gateways (policy routing) or as segments (SRv6)."""

    addresses: Mapping[str, Address]

    @classmethod
    def of(cls, entries: Mapping[str, object], known: Sequence[str]) -> Book:
        """Raises InputError for a node that does not exist, or an address that is none."""
        names = set(known)
        addresses = {}
        for name, text in entries.items():
            if name not in names:
                hint = suggest(name, tuple(known)) or "remove it"
                raise InputError(f"addresses: no node is named {name!r}; allowed are nodes of the topology; {hint}")
            try:
                addresses[name] = ip_address(str(text))
            except ValueError:
                raise InputError(f"addresses: {name}: {text!r} is not an address; write for example 10.0.0.1") from None
        return cls(addresses)

    def find(self, name: str) -> Address:
        if name not in self.addresses:
            raise InputError(f"addresses: {name!r} has none; allowed is one for each node on a path; add it")
        return self.addresses[name]


@dataclass(frozen=True, slots=True)
class Pin:
    """A subflow by position, its ends and switches by name, and which of its pair's paths it takes."""

    subflow: int
    src: str
    dst: str
    switches: tuple[str, ...]
    path: int
    paths: int


def pins(network: Network, subflows: Subflows) -> Iterator[Pin]:
    """Every subflow, in order. Paths of a pair count from 0 in the order of their switches' ids."""
    names = [node.name for node in network.topology.nodes]
    ranks = [names[node] for node in network.topology.ranks]
    begin = network.paths.begin.tolist()
    place: dict[int, tuple[int, int]] = {}
    for number, (flow, path) in enumerate(zip(subflows.flow.tolist(), subflows.path.tolist(), strict=True)):
        pair = int(network.paths.pair[flow])
        if path not in place:
            options = sorted(range(begin[pair], begin[pair + 1]), key=network.paths.interior)
            place.update({option: (position, len(options)) for position, option in enumerate(options)})
        switches = tuple(names[node] for node in network.paths.interior(path))
        src, dst = (ranks[int(ends[flow])] for ends in (network.flows.src, network.flows.dst))
        yield Pin(number, src, dst, switches, *place[path])


def roce_entry(pin: Pin, book: Book, hash: Hash | None) -> dict[str, object]:
    """What a RoCEv2 sender sets for a subflow; without a known hash, how many ports it has to try."""
    entry: dict[str, object] = {"subflow": pin.subflow, "src": pin.src, "dst": pin.dst, "path": pin.path}
    if hash is None:
        return {**entry, "paths": pin.paths, "probes_expected": float(probe_budget(pin.paths))}
    port = port_of_path(hash, book.find(pin.src), book.find(pin.dst), pin.path, pin.paths)
    return {**entry, "udp_source_port": port, "flow_label": flow_label_of_port(port)}


def segment_list(pin: Pin, book: Book) -> tuple[Address, ...]:
    """The SRv6 segments of a subflow: every switch on its path, then the destination."""
    return tuple(book.find(name) for name in (*pin.switches, pin.dst))


def policy_script(chosen: Sequence[Pin], book: Book) -> Iterator[str]:
    """Lines of a shell script for all hosts: `sh pin.sh RANK` on the host of RANK adds its rules and routes.

    Subflow i of a rank sends from UDP or TCP source port FIRST_PORT + i; a rule for that port leads to the table of the
    first switch on its path. That pins the port and the plane it leaves by.
    """
    yield '#!/bin/sh\n# usage: sh FILE RANK, as root on the host of RANK (Linux 4.17 or later)\nset -eu\ncase "$1" in\n'
    by_source: dict[str, list[Pin]] = {}
    for pin in chosen:
        if pin.switches:
            by_source.setdefault(pin.src, []).append(pin)
    for src, of_rank in by_source.items():
        yield f"{_quoted(src)})\n"
        tables = {
            gateway: FIRST_TABLE + i for i, gateway in enumerate(dict.fromkeys(pin.switches[0] for pin in of_rank))
        }
        family = f"-{book.find(src).version}"
        for gateway, table in tables.items():
            yield f"  ip {family} route replace default via {book.find(gateway)} table {table}\n"
        for number, pin in enumerate(of_rank):
            if number >= PORTS:
                raise InputError(f"{src} has more than {PORTS} subflows; allowed are that many; plan with fewer pieces")
            for protocol in ("tcp", "udp"):
                yield (
                    f"  ip {family} rule add from {book.find(src)} to {book.find(pin.dst)} ipproto {protocol} "
                    f"sport {FIRST_PORT + number} lookup {tables[pin.switches[0]]}  # subflow {pin.subflow}\n"
                )
        yield "  ;;\n"
    yield '*) echo "no such rank: $1" >&2; exit 2 ;;\nesac\n'


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "'\\''") + "'"
