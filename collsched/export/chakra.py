"""Chakra execution traces: what each rank sends and receives, for simulators such as ASTRA-sim.

A trace is a sequence of protobuf messages, each after its length as a varint (mlcommons/chakra,
src/third_party/utils/protolib.py): one GlobalMetadata, then Nodes (schema/protobuf/et_def.proto). A send waits for
the receives of what it forwards. Sizes are bytes; a tag counts the messages from one rank to another, so that a pair
of ranks and a tag name one message. ASTRA-sim (system/astraccl/custom_collectives/CustomAlgorithm.cc) reads comm_src,
comm_dst, comm_size and comm_tag; `offset` and `reduce` are for whoever wants to check the data: where the bytes lie
in the whole buffer of the collective, and whether the receiver adds them to its own.

The messages are made by the protobuf library from the few fields that are used, described here; no generated code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from collsched.errors import InputError
from collsched.ir.program import RECV_REDUCE, SEND, Program
from collsched.ir.schedule import Schedule
from collsched.lower import programs
from collsched.topology.model import Topology

SEND_NODE, RECV_NODE = 5, 6  # NodeType
SCHEMA = "0.0.4"
_STRING, _MESSAGE, _INT32, _INT64, _UINT64, _BOOL = 9, 11, 5, 3, 4, 8  # FieldDescriptorProto.Type
_FIELDS = {
    "AttributeProto": (("name", 1, _STRING), ("int32_val", 7, _INT32), ("int64_val", 9, _INT64),
                       ("bool_val", 27, _BOOL), ("string_val", 29, _STRING)),
    "GlobalMetadata": (("version", 1, _STRING), ("attr", 2, "AttributeProto")),
    "Node": (("id", 1, _UINT64), ("name", 2, _STRING), ("type", 3, _INT32), ("data_deps", 5, "repeated"),
             ("attr", 10, "AttributeProto")),
}  # fmt: skip


def traces(topology: Topology, schedule: Schedule, size: int) -> Iterator[bytes]:
    """The trace of every rank of the topology, in order, for buffers of `size` bytes; chunks of no bytes are left out.

    Raises InputError where a rank sends another more messages than tags can count.
    """
    messages = _messages()
    collective = schedule.collective
    lo, hi = schedule.chunks.ranges(collective, collective.total(size))
    if np.bincount(schedule.transfers.route, minlength=1).max() >= 1 << 31:
        raise InputError("a pair of ranks exchanges more than 2³¹ messages; export with fewer --segments")
    head = messages["GlobalMetadata"](version=SCHEMA)
    head.attr.add(name="collective", string_val=str(collective.kind))
    head.attr.add(name="bytes", int64_val=size)
    for program in programs(topology, schedule):
        parts = [_framed(head)]
        parts += [_framed(node) for node in _nodes(program, lo.tolist(), hi.tolist(), messages["Node"])]
        yield b"".join(parts)


def _nodes(program: Program, lo: list[int], hi: list[int], make: Any) -> Iterator[Any]:
    """A node for every instruction that moves something, numbered by the instruction's place in the program."""
    tags: Counter[tuple[int, int]] = Counter()
    ptr, member = program.joins.ptr.tolist(), program.joins.member.tolist()
    chunks, peers, joins = program.chunk.tolist(), program.peer.tolist(), program.join.tolist()
    moves = [hi[chunk] > lo[chunk] for chunk in chunks]
    for i, opcode in enumerate(program.opcode.tolist()):
        chunk, peer = chunks[i], peers[i]
        if not moves[i]:
            continue
        src, dst = (program.rank, peer) if opcode == SEND else (peer, program.rank)
        kind, word = (SEND_NODE, "send to") if opcode == SEND else (RECV_NODE, "receive from")
        node = make(id=i, name=f"chunk {chunk}: {word} {peer}", type=kind)
        node.data_deps.extend(m for m in member[ptr[joins[i]] : ptr[joins[i] + 1]] if moves[m])
        node.attr.add(name="is_cpu_op", bool_val=False)
        node.attr.add(name="comm_src", int32_val=src)
        node.attr.add(name="comm_dst", int32_val=dst)
        node.attr.add(name="comm_size", int64_val=hi[chunk] - lo[chunk])
        node.attr.add(name="comm_tag", int32_val=tags[src, dst])
        node.attr.add(name="offset", int64_val=lo[chunk])
        if opcode != SEND:
            node.attr.add(name="reduce", bool_val=opcode == RECV_REDUCE)
        tags[src, dst] += 1
        yield node


def _messages() -> dict[str, Any]:
    """Message classes for the fields in use. Values of an attribute are one of a kind (`oneof value`)."""
    from google.protobuf import (  # type: ignore[import-untyped]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    file = descriptor_pb2.FileDescriptorProto(name="collsched/et_def.proto", package="ChakraProtoMsg", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        if name == "AttributeProto":
            message.oneof_decl.add(name="value")
        for field, number, kind in fields:
            entry = message.field.add(name=field, number=number, label=3 if isinstance(kind, str) else 1)
            if kind == "repeated":
                entry.type = _UINT64
            elif isinstance(kind, str):
                entry.type, entry.type_name = _MESSAGE, f".ChakraProtoMsg.{kind}"
            else:
                entry.type = kind
            if name == "AttributeProto" and field != "name":
                entry.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"ChakraProtoMsg.{name}")) for name in _FIELDS
    }


def _framed(message: Any) -> bytes:
    body: bytes = message.SerializeToString(deterministic=True)
    head, left = bytearray(), len(body)
    while left > 127:
        head.append(left & 127 | 128)
        left >>= 7
    return bytes([*head, left]) + body
