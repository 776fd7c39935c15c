"""Chakra traces: what is exported does its collective and moves the plan's bytes; what is broken does not pass."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from exported import compiled, grown, star
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import KINDS, Kind
from collsched.compiler import compile
from collsched.errors import VerificationError
from collsched.export import chakra
from collsched.export.check.chakra import check_chakra
from collsched.lower.buffers import rows
from collsched.plan import Plan


def exported(plan: Plan, size: int, segments: int = 1) -> list[bytes]:
    return list(chakra.traces(plan.topology, plan.schedule(segments), size))


def moved(plan: Plan, size: int, segments: int) -> Counter[tuple[int, int]]:
    schedule = plan.schedule(segments)
    lo, hi = schedule.chunks.ranges(plan.collective, plan.collective.total(size))
    count: Counter[tuple[int, int]] = Counter()
    for chunk, src, dst, _, _ in rows(plan.topology, schedule):
        count[src, dst] += int(hi[chunk] - lo[chunk])
    return +count


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from((*KINDS, Kind.ALL_TO_ALL)),
    size=st.sampled_from((0, 1, 13, 1009, 10**9 + 7)),
    segments=st.integers(1, 3),
)
def test_traces_do_their_collective(seed: int, kind: Kind, size: int, segments: int) -> None:
    """Unequal shards, relays outside the group and chunks of no bytes included."""
    plan = grown(seed, kind, free=True)
    traces = exported(plan, size, segments)
    assert check_chakra(traces, plan.collective, size) == moved(plan, size, segments)


@pytest.mark.parametrize("kind", [Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE])
@pytest.mark.parametrize("fabric", ["two A100 boxes", "one MI250 box", "leaf-spine"])
def test_machines(fabric: str, kind: Kind) -> None:
    plan = compiled(fabric, kind)
    assert check_chakra(exported(plan, 1 << 20), plan.collective, 1 << 20) == moved(plan, 1 << 20, 1)


def decoded(trace: bytes) -> tuple[Any, list[Any]]:
    """Metadata and nodes, by the protobuf library."""
    classes = chakra._messages()
    parts, position = [], 0
    while position < len(trace):
        length = shift = 0
        while True:
            byte = trace[position]
            length |= (byte & 127) << shift
            position, shift = position + 1, shift + 7
            if byte < 128:
                break
        parts.append(trace[position : position + length])
        position += length
    return classes["GlobalMetadata"].FromString(parts[0]), [classes["Node"].FromString(part) for part in parts[1:]]


def encoded(head: Any, nodes: list[Any]) -> bytes:
    return b"".join(chakra._framed(message) for message in (head, *nodes))


def attribute(node: Any, name: str) -> Any:
    return next(entry for entry in node.attr if entry.name == name)


MUTATIONS = ("dependency", "offset", "size", "tag", "lost", "peer", "operation", "cut")


@pytest.mark.parametrize("kind", [Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE])
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_broken_traces_are_refused(mutation: str, kind: Kind) -> None:
    plan = compiled("one MI250 box", kind, 1)
    traces = exported(plan, 16000)
    rng = random.Random(3)
    for _ in range(4):
        broken = list(traces)
        rank = rng.randrange(len(traces))
        head, nodes = decoded(traces[rank])
        wanted = {"dependency": lambda n: n.data_deps, "operation": lambda n: n.type == chakra.RECV_NODE}
        node = rng.choice([node for node in nodes if wanted.get(mutation, lambda _: True)(node)])
        match mutation:
            case "dependency":
                del node.data_deps[:]
            case "offset":
                attribute(node, "offset").int64_val += 1
            case "size":
                attribute(node, "comm_size").int64_val -= 1
            case "tag":
                attribute(node, "comm_tag").int32_val += 1
            case "lost":
                nodes.remove(node)
            case "peer":
                attribute(node, "comm_dst").int32_val = (attribute(node, "comm_dst").int32_val + 1) % 16
            case "operation":
                attribute(node, "reduce").bool_val ^= True
        broken[rank] = encoded(head, nodes)[: -3 if mutation == "cut" else None]
        with pytest.raises(VerificationError):
            check_chakra(broken, plan.collective, 16000)


def test_what_the_library_reads(golden: Any) -> None:
    """The fields under their names, in the order of the file."""
    lines = []
    for rank, trace in enumerate(exported(compile(star(3), Kind.ALLREDUCE), 1000)):
        head, nodes = decoded(trace)
        lines.append(f"rank {rank}, schema {head.version}: {', '.join(entry.name for entry in head.attr)}")
        for node in nodes:
            values = [f"{a.name}={getattr(a, a.WhichOneof('value'))}" for a in node.attr]
            lines.append(f"{node.id} {node.name!r} type {node.type} after {list(node.data_deps)}: {' '.join(values)}")
    golden.check("\n".join(lines), "chakra")
