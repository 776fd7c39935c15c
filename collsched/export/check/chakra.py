"""Reads Chakra traces without a protobuf library, rebuilds the schedule that they are of, and hands it to the judge.

Messages and fields as in mlcommons/chakra (schema/protobuf/et_def.proto), wire format as in protobuf's documentation
of its encoding. A send and a receive of the same two ranks and tag are one transfer; it waits for the transfers that
either of the two nodes waits for. The network is left out: every pair of ranks gets a link of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np

from collsched.collective import Collective
from collsched.export.check.machine import refuse
from collsched.forest.model import Routes
from collsched.ir.schedule import COPY, REDUCE, Chunks, Joins, Schedule, Transfers
from collsched.ir.verify import verify
from collsched.topology.model import Link, Node, Topology

_SEND, _RECEIVE = 5, 6
_VALUES = {7: "int", 9: "int", 27: "bool", 29: "text"}  # fields of AttributeProto's value

Wire = tuple[int, int | bytes]  # field number and value


@dataclass(slots=True)
class _Message:
    """A node of a trace: one end of a transfer. `after` are node ids of the same trace."""

    rank: int
    id: int
    kind: int
    after: tuple[int, ...]
    attributes: dict[str, int]

    @property
    def key(self) -> tuple[int, int, int]:
        return self.attributes["comm_src"], self.attributes["comm_dst"], self.attributes["comm_tag"]


def check_chakra(traces: Sequence[bytes], collective: Collective, size: int) -> Counter[tuple[int, int]]:
    """Check the traces of all ranks for a collective with buffers of `size` bytes; returns the bytes from rank to rank.

    Raises VerificationError where a trace is malformed, sends and receives do not match, or the transfers do not do
    what the collective promises under every timing.
    """
    nodes = [node for rank, trace in enumerate(traces) for node in _read(trace, rank)]
    sends, receives = _ends(nodes, _SEND), _ends(nodes, _RECEIVE)
    if sends.keys() != receives.keys():
        lost = min(sends.keys() ^ receives.keys())
        refuse("messages", f"rank {lost[0]} → rank {lost[1]}, tag {lost[2]} has only one end")
    keys = sorted(sends, key=lambda key: (sends[key].id, key))
    moved: Counter[tuple[int, int]] = Counter()
    for key in keys:
        send, receive = sends[key].attributes, receives[key].attributes
        if (send["comm_size"], send["offset"]) != (receive["comm_size"], receive["offset"]):
            refuse("messages", f"the two ends of rank {key[0]} → rank {key[1]}, tag {key[2]} differ in size or offset")
        moved[key[:2]] += send["comm_size"]
    pairs = sorted(moved)
    topology = Topology(
        "the ranks of the traces",
        tuple(Node(f"rank{i}", "rank") for i in range(len(traces))),
        tuple(Link(src, dst, Fraction(1)) for src, dst in pairs),
    )
    verify(topology, _schedule(collective, size, keys, sends, receives, pairs))
    return moved


def _ends(nodes: Sequence[_Message], kind: int) -> dict[tuple[int, int, int], _Message]:
    ends: dict[tuple[int, int, int], _Message] = {}
    for node in nodes:
        if node.kind == kind:
            if node.rank != node.key[kind == _RECEIVE] or node.key in ends:
                refuse("messages", f"node {node.id} of rank {node.rank} is another rank's, or its tag is taken")
            ends[node.key] = node
    return ends


def _schedule(
    collective: Collective,
    size: int,
    keys: Sequence[tuple[int, int, int]],
    sends: dict[tuple[int, int, int], _Message],
    receives: dict[tuple[int, int, int], _Message],
    pairs: Sequence[tuple[int, int]],
) -> Schedule:
    """Transfers in the order of `keys`; chunks are the byte ranges that occur, and what is left of each shard."""
    spans = sorted({(sends[key].attributes["offset"], sends[key].attributes["comm_size"]) for key in keys})
    total = collective.total(size)
    borders = [weight * total // sum(collective.shards) for weight in accumulate(collective.shards, initial=0)]
    rows = _chunks(spans, borders)
    number = {(borders[shard] + offset, length): i for i, (shard, offset, length, _) in enumerate(rows)}
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    chunks = Chunks(columns[0].astype(np.int32), columns[1], columns[2], columns[3])
    place = {(node.rank, node.id): i for i, key in enumerate(keys) for node in (sends[key], receives[key])}
    ptr, members = [0, 0], []
    for key in keys:
        after = {(node.rank, before) for node in (sends[key], receives[key]) for before in node.after}
        if not after <= place.keys():
            refuse("dependency", f"rank {key[0]} → rank {key[1]}, tag {key[2]} waits for a node that is not there")
        members += sorted({place[before] for before in after})
        ptr.append(len(members))
    route = {pair: i for i, pair in enumerate(pairs)}
    transfers = Transfers(
        np.array(
            [number[sends[key].attributes["offset"], sends[key].attributes["comm_size"]] for key in keys], np.int32
        ),
        np.array([route[key[:2]] for key in keys], np.uint32),
        np.array([REDUCE if receives[key].attributes["reduce"] else COPY for key in keys], np.uint8),
        np.arange(1, len(keys) + 1, dtype=np.int32),
        np.array([key[2] % (1 << 15) for key in keys], np.int16),
    )
    sizes = tuple(end - begin for begin, end in pairwise(borders))
    routes = Routes(np.arange(len(pairs) + 1, dtype=np.int64), np.arange(len(pairs), dtype=np.int32))
    joins = Joins(np.array(ptr, np.int64), np.array(members, np.int32))
    return Schedule(replace(collective, shards=sizes), chunks, routes, transfers, joins)


def _chunks(spans: Sequence[tuple[int, int]], borders: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(shard, offset, length, size of the shard) in bytes: the spans, and the gaps between them."""
    rows = []
    at = 0
    for shard, (begin, end) in enumerate(pairwise(borders)):
        last = begin
        while at < len(spans) and spans[at][0] < end:
            offset, length = spans[at]
            if offset < last or offset + length > end or length < 1:
                refuse(
                    "chunks", f"bytes [{offset}, {offset + length}) overlap others or cross the end of shard {shard}"
                )
            if offset > last:
                rows.append((shard, last - begin, offset - last, end - begin))
            rows.append((shard, offset - begin, length, end - begin))
            last, at = offset + length, at + 1
        if last < end:
            rows.append((shard, last - begin, end - last, end - begin))
    if at < len(spans):
        refuse("chunks", f"bytes from {spans[at][0]} on are beyond the buffer")
    return rows


def _read(trace: bytes, rank: int) -> Iterator[_Message]:
    """The nodes of a trace, after its metadata."""
    position, first = 0, True
    ids: set[int] = set()
    while position < len(trace):
        length, position = _varint(trace, position)
        if length < 1 or position + length > len(trace):
            refuse("form", f"the trace of rank {rank} is cut off or has an empty message")
        if not first:
            node = _node(trace[position : position + length], rank)
            if node.id in ids:
                refuse("form", f"the trace of rank {rank} has two nodes {node.id}")
            ids.add(node.id)
            yield node
        position, first = position + length, False
    if first:
        refuse("form", f"the trace of rank {rank} is empty")


def _node(body: bytes, rank: int) -> _Message:
    fields = list(_fields(body))
    numbers = {number: value for number, value in fields if isinstance(value, int)}
    after: list[int] = []
    attributes: dict[str, int] = {}
    for number, value in fields:
        if number == 5:
            after += [value] if isinstance(value, int) else _packed(value)
        if number == 10 and isinstance(value, bytes):
            name, content = _attribute(value)
            attributes[name] = content
    node = _Message(rank, numbers.get(1, 0), numbers.get(3, 0), tuple(after), attributes)
    needed = {"comm_src", "comm_dst", "comm_size", "comm_tag", "offset"} | (
        {"reduce"} if node.kind == _RECEIVE else set()
    )
    if node.kind not in (_SEND, _RECEIVE) or not needed <= attributes.keys():
        refuse("form", f"node {node.id} of rank {rank} is of kind {node.kind} or lacks {needed - attributes.keys()}")
    return node


def _attribute(body: bytes) -> tuple[str, int]:
    """Name and value; a value of 0 or false may stand as the field alone."""
    name, content = "", 0
    for number, value in _fields(body):
        if number == 1 and isinstance(value, bytes):
            name = value.decode()
        elif _VALUES.get(number) in ("int", "bool") and isinstance(value, int):
            content = value
    return name, content


def _packed(body: bytes) -> list[int]:
    values, position = [], 0
    while position < len(body):
        value, position = _varint(body, position)
        values.append(value)
    return values


def _fields(body: bytes) -> Iterator[Wire]:
    position = 0
    while position < len(body):
        tag, position = _varint(body, position)
        if tag & 7 == 0:
            value, position = _varint(body, position)
            yield tag >> 3, value
        elif tag & 7 == 2:
            length, position = _varint(body, position)
            if position + length > len(body):
                refuse("form", "a field is longer than its message")
            yield tag >> 3, body[position : position + length]
            position += length
        else:
            refuse("form", f"field {tag >> 3} has wire type {tag & 7}, which no field of these traces has")


def _varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(body) or shift > 63:
            refuse("form", "a number is cut off or too long")
        byte = body[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
