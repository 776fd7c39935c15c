"""MSCCL++ execution plans: a program of remote operations as JSON.

The keys are those that microsoft/mscclpp reads (src/core/executor/execution_plan.cc). A rank numbers its channels of
a kind in the order of its blocks; the n-th of its channels to a peer meets the n-th of the peer's channels to it. An
operation names channels and remote buffers by their position in its block's lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from collsched.ir.operations import MEMORY, PORT, Operation, OperationBlock, OperationProgram, Part

ALIGNMENT = 16  # bytes; a buffer is a whole number of these times its units
MOST_BYTES = (1 << 32) - 1  # offsets are 32 bits wide
THREADS = 1024  # of a block


def plan_json(program: OperationProgram, name: str, sizes: tuple[int, int] = (0, MOST_BYTES)) -> Iterator[str]:
    """The text, a rank after another. `sizes`: bytes of the smallest and largest buffer that it is meant for."""
    placement = program.placement
    head = {
        "name": name,
        "collective": placement.kind.replace("-", "") if placement.kind != "all-to-all" else "alltoall",
        "protocol": "Simple",
        "inplace": placement.in_place,
        "reuse_resources": False,
        "num_threads_per_block": THREADS,
        "use_double_scratch_buffer": False,
        "buffer_alignment": ALIGNMENT,
        "min_message_size": sizes[0],
        "max_message_size": min(sizes[1], MOST_BYTES),
    }
    yield json.dumps(head)[:-1] + ', "gpus": [\n'
    for rank, blocks in enumerate(program.blocks):
        gpu = {
            "id": rank,
            "input_chunks": placement.input,
            "output_chunks": placement.output,
            "scratch_chunks": program.scratch[rank],
            **_connections(blocks),
        }
        yield json.dumps(gpu) + (",\n" if rank + 1 < placement.ranks else "\n")
    yield "]}\n"


def _connections(blocks: Sequence[OperationBlock]) -> dict[str, Any]:
    """Blocks with their operations, and the channels and remote buffers that they refer to."""
    connected: dict[str, list[int]] = {MEMORY: [], PORT: []}
    buffers: dict[tuple[int, str, str], int] = {}
    threadblocks = []
    for number, block in enumerate(blocks):
        channels: dict[str, dict[int, int]] = {MEMORY: {}, PORT: {}}  # kind → peer → position in the block's list
        remote: dict[str, dict[tuple[int, str], int]] = {MEMORY: {}, PORT: {}}
        first = {kind: len(peers) for kind, peers in connected.items()}
        for operation in block.operations:
            if operation.channel is None:
                continue
            for peer in operation.peers:
                channels[operation.channel].setdefault(peer, len(channels[operation.channel]))
            for part in (*operation.sources, *operation.targets):
                if part.peer is not None:
                    known = remote[operation.channel]
                    known.setdefault((part.peer, part.spot.buffer), len(known))
        for kind, peers in channels.items():
            connected[kind] += peers
        for kind, parts in remote.items():
            for peer, buffer in parts:
                buffers.setdefault((peer, buffer, kind), len(buffers))
        threadblocks.append(
            {
                "id": number,
                "ops": [_operation(operation, channels, remote) for operation in block.operations],
                "channels": [
                    {"channel_type": kind, "channel_ids": [first[kind] + i for i in range(len(peers))]}
                    for kind, peers in channels.items()
                    if peers
                ],
                "remote_buffer_refs": [
                    {"access_channel_type": kind, "remote_buffer_ids": [buffers[(*part, kind)] for part in parts]}
                    for kind, parts in remote.items()
                    if parts
                ],
            }
        )
    return {
        "threadblocks": threadblocks,
        "channels": [{"channel_type": kind, "connected_to": peers} for kind, peers in connected.items() if peers],
        "remote_buffers": [
            {"rank": peer, "type": buffer, "access_channel_types": [kind]} for peer, buffer, kind in buffers
        ],
        "semaphores": [],
    }


def _operation(
    operation: Operation, channels: dict[str, dict[int, int]], remote: dict[str, dict[tuple[int, str], int]]
) -> dict[str, Any]:
    def part(part: Part) -> dict[str, Any]:
        place = {"index": part.spot.offset, "size": part.units}
        if part.peer is None or operation.channel is None:
            return {"type": part.spot.buffer, **place}
        return {"buffer_id": remote[operation.channel][part.peer, part.spot.buffer], **place}

    text: dict[str, Any] = {"name": operation.name}
    if operation.sources:
        text |= {"src_buff": [part(p) for p in operation.sources], "dst_buff": [part(p) for p in operation.targets]}
    if operation.channel is not None:
        known = channels[operation.channel]
        text |= {"channel_ids": [known[peer] for peer in operation.peers], "channel_type": operation.channel}
    if operation.name in ("re", "rre"):
        text["reduce_op"] = "sum"
    return text
