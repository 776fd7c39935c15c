"""Collectives of a process group beside the same calls of gloo, chosen by a seed that all ranks share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

Tensor = torch.Tensor
Call = Callable[[Any, random.Random, int], list[Tensor]]

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
TYPES = (*FLOATS, torch.int32, torch.int64, torch.uint8)  # that gloo has for every call
gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def values(rng: random.Random, rank: int, shape: tuple[int, ...], dtype: Any) -> Tensor:
    """Small whole numbers, other ones on every rank: every order of summation gives the same."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30) * 64 + rank)
    return torch.randint(0, 4, shape, generator=generator).to(dtype)


def shape(rng: random.Random) -> tuple[int, ...]:
    return rng.choice(
        [(1,), (rng.randrange(1, 3000),), (3, rng.randrange(1, 50)), (0,), (), (rng.randrange(20000, 60000),)]
    )


def all_reduce(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, shape(rng), rng.choice((*FLOATS, torch.int32, torch.int64, torch.uint8)))
    op = rng.choice([dist.ReduceOp.SUM, dist.ReduceOp.MIN, dist.ReduceOp.MAX, dist.ReduceOp.PRODUCT])
    dist.all_reduce(tensor, op, group)
    return [tensor]


def all_reduce_bits(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, (rng.randrange(1, 100),), torch.int32)
    dist.all_reduce(tensor, dist.ReduceOp.BOR, group)
    return [tensor]


def all_reduce_strided(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, (6, rng.randrange(2, 40)), torch.float32).t()
    dist.all_reduce(tensor, group=group)
    return [tensor]


def several_at_once(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensors = [values(rng, rank, shape(rng), torch.float32) for _ in range(4)]
    for work in [dist.all_reduce(tensor, group=group, async_op=True) for tensor in tensors]:
        work.wait()
    return tensors


def reduce(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, shape(rng), rng.choice(FLOATS))
    root = rng.randrange(group.size())
    dist.reduce(tensor, group=group, group_dst=root)
    return [tensor] if group.rank() == root else []  # elsewhere undefined


def broadcast(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, shape(rng), rng.choice(TYPES))
    dist.broadcast(tensor, group=group, group_src=rng.randrange(group.size()))
    return [tensor]


def all_gather(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, shape(rng), rng.choice(TYPES))
    outputs = [torch.empty_like(tensor) for _ in range(group.size())]
    dist.all_gather(outputs, tensor, group)
    return outputs


def all_gather_tensor(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, (rng.randrange(1, 3000), 2), rng.choice(TYPES))
    output = tensor.new_empty(tensor.shape[0] * group.size(), 2)
    gather_single(output, tensor, group=group)
    return [output]


def reduce_scatter(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, (group.size() * rng.randrange(1, 3000), 3), rng.choice(FLOATS))
    output = tensor.new_empty(tensor.shape[0] // group.size(), 3)
    scatter_single(output, tensor, group=group)
    listed = torch.empty_like(output)
    dist.reduce_scatter(listed, list(tensor.chunk(group.size())), group=group)
    return [output, listed]


def all_to_all(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, (group.size() * rng.randrange(1, 500), 2), rng.choice(TYPES))
    output = torch.empty_like(tensor)
    dist.all_to_all_single(output, tensor, group=group)
    return [output]


def all_to_all_uneven(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    size = group.size()
    table = [[rng.randrange(0, 30) for _ in range(size)] for _ in range(size)]
    mine = group.rank()
    tensor = values(rng, rank, (sum(table[mine]),), torch.float32)
    theirs = [table[peer][mine] for peer in range(size)]
    output = torch.empty(sum(theirs))
    dist.all_to_all_single(output, tensor, theirs, table[mine], group=group)
    return [output]


def gather(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, shape(rng), rng.choice(TYPES))
    root = rng.randrange(group.size())
    outputs = [torch.empty_like(tensor) for _ in range(group.size())] if group.rank() == root else None
    dist.gather(tensor, outputs, group=group, group_dst=root)
    return outputs or []


def scatter(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    extent, dtype = shape(rng), rng.choice(TYPES)
    root = rng.randrange(group.size())
    parts = [values(rng, rank, extent, dtype) for _ in range(group.size())]
    output = torch.empty_like(parts[0])
    dist.scatter(output, parts if group.rank() == root else None, group=group, group_src=root)
    return [output]


def objects(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    everyone: list[Any] = [None] * group.size()
    dist.all_gather_object(everyone, {"rank": rank, "text": "x" * rng.randrange(500)}, group)
    said = [rank, None] if group.rank() == 0 else [None, None]
    dist.broadcast_object_list(said, group=group, group_src=0)
    return [torch.tensor([entry["rank"] for entry in everyone]), torch.tensor(said[0])]


def point_to_point(group: Any, rng: random.Random, rank: int) -> list[Tensor]:
    tensor = values(rng, rank, (rng.randrange(1, 300),), torch.float32)
    got = torch.empty_like(tensor)
    size, mine = group.size(), group.rank()
    sends = dist.isend(tensor, group=group, group_dst=(mine + 1) % size)
    dist.recv(got, group=group, group_src=(mine - 1) % size)
    sends.wait()
    return [got]


CALLS: tuple[Call, ...] = (
    all_reduce, all_reduce_bits, all_reduce_strided, several_at_once, reduce, broadcast, all_gather, all_gather_tensor,
    reduce_scatter, all_to_all, all_to_all_uneven, gather, scatter, objects, point_to_point,
)  # fmt: skip


def compare(ours: Any, gloo: Any, seed: int, calls: tuple[Call, ...] = CALLS) -> int:
    """Make the calls in an order of their own, in both groups; how many there were. Raises AssertionError."""
    order = random.Random(seed)
    chosen = order.sample(calls, len(calls))
    for number, call in enumerate(chosen):
        rank = dist.get_rank()
        got = call(ours, random.Random(seed * 1000 + number), rank)
        expected = call(gloo, random.Random(seed * 1000 + number), rank)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other), f"{call.__name__}, seed {seed}"
        dist.barrier(ours)
    return len(chosen)


def repetition(seed: int, gloo: dict[tuple[int, ...], Any]) -> int:
    """A new group of some ranks beside a gloo group of the same, calls in it and in the whole; the number of calls."""
    rng = random.Random(seed)
    world = dist.get_world_size()
    members = tuple(sorted(rng.sample(range(world), rng.randrange(2, world + 1))))
    everyone = tuple(range(world))
    for ranks in (members, everyone):
        if ranks not in gloo:
            gloo[ranks] = dist.new_group(list(ranks), backend="gloo")
    made = dist.new_group(list(members))
    calls = 0
    few = tuple(rng.sample(CALLS, 5))
    if dist.get_rank() in members:
        calls += compare(made, gloo[members], seed, few)
        dist.destroy_process_group(made)
    return calls + compare(dist.group.WORLD, gloo[everyone], seed, tuple(rng.sample(CALLS, 5)))
