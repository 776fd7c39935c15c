"""DDP and FSDP2 by plans beside gloo: gradients at every step, overlap, and a rank that dies."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torch.distributed as dist
from jobs import RANKS, job, kill_self, results
from models import WIDTH, furthest, model, train
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import collsched.torch
from collsched.topology import one_machine

ROUNDING = 1e-5  # of float32 sums of four in another order, through a few steps
STEPS = 6

fsdp = pytest.importorskip("torch.distributed.fsdp")


def ddp(**options: Any) -> DistributedDataParallel:
    # Buckets so small that there are several.
    return DistributedDataParallel(model(), bucket_cap_mb=0.02, **options)


def of_ddp(parameter: Any) -> torch.Tensor:
    return parameter.grad.clone()


def of_fsdp(parameter: Any) -> torch.Tensor:
    return parameter.grad.full_tensor().clone()


def test_ddp_by_hook_equals_gloo_at_every_step() -> None:
    def body(rank: int) -> Any:
        expected = train(ddp(), rank, STEPS, of_ddp)
        found = {}
        for name, settings in {"plain": {}, "bf16": {"compress": "bf16"}}.items():
            module = ddp()
            state = collsched.torch.state(one_machine(RANKS), **settings)
            module.register_comm_hook(state, collsched.torch.allreduce_hook)
            found[name] = furthest(train(module, rank, STEPS, of_ddp), expected)
            state.close()
        return found

    for found in results(job(body, backend="gloo")):
        assert max(found["plain"]) < ROUNDING
        # Two roundings to 8 bits each, and what the steps before them did to the weights.
        assert 0 < found["bf16"][0] < 2.0**-5 and found["bf16"][1] < 1e-2


def test_ddp_and_fsdp_on_the_process_group_equal_gloo() -> None:
    def body(rank: int) -> Any:
        gloo = dist.new_group(backend="gloo")
        of_gloo = train(ddp(process_group=gloo), rank, STEPS, of_ddp)
        of_ours = train(ddp(), rank, STEPS, of_ddp)
        return [furthest(of_ours, of_gloo), furthest(train(sharded(None), rank, STEPS, of_fsdp), of_gloo)]

    for pairs in results(job(body)):
        assert max(max(pair) for pair in pairs) < ROUNDING


def sharded(state: collsched.torch.State | None, mesh: Any = None) -> nn.Module:
    module = model()
    for layer in module:
        if isinstance(layer, nn.Linear):
            fsdp.fully_shard(layer, mesh=mesh)
    fsdp.fully_shard(module, mesh=mesh)
    for part in module.modules():
        if state is not None and isinstance(part, fsdp.FSDPModule):
            collsched.torch.use(state, part)
    return module


def test_fsdp_by_custom_collectives_equals_gloo() -> None:
    def body(rank: int) -> Any:
        from torch.distributed.device_mesh import init_device_mesh

        expected = train(ddp(), rank, STEPS, of_ddp)
        state = collsched.torch.state()
        whole = furthest(train(sharded(state), rank, STEPS, of_fsdp), expected)
        pairs = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicas", "shards"))
        hybrid = furthest(train(sharded(state, pairs), rank, STEPS, of_fsdp), expected)
        groups = sorted(group.peers.ranks for group in state._groups.values())
        # FSDP's buffers lie in memory that all ranks see, of any type of parameters.
        found = state.group(dist.group.WORLD, "cpu")
        assert found.empty(6, torch.bfloat16) is not None
        memory = collsched.torch.AllGather(state).allocate((2, 3), dtype=torch.bfloat16, device=torch.device("cpu"))
        assert memory.shape == (2, 3) and memory.dtype == torch.bfloat16
        return [whole, hybrid, groups]

    for whole, hybrid, groups in results(job(body, backend="gloo")):
        assert max(whole) < ROUNDING and max(hybrid) < ROUNDING
        assert groups == [2, 4]


class Gate(torch.autograd.Function):
    """Passes gradients on, once a condition holds: the work before it in the backward pass cannot end earlier."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, wait: Any) -> torch.Tensor:
        ctx.wait = wait
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        ctx.wait()
        return gradient, None


def test_buckets_are_reduced_while_the_backward_pass_goes_on() -> None:
    """The backward pass of the first layer waits until the bucket of the last one has been reduced."""

    def body(rank: int) -> Any:
        reduced = threading.Event()
        stages: list[str] = []

        def hook(state, bucket):  # DDP takes only its own types as annotations
            index = bucket.index()
            stages.append(f"bucket {index}")
            future = collsched.torch.allreduce_hook(state, bucket)
            return future.then(lambda done: (stages.append(f"reduced {index}"), reduced.set(), done.value())[2])

        class Gated(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last = nn.Linear(WIDTH, 200), nn.Linear(200, 300)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.last(Gate.apply(self.first(x), wait))

        def wait() -> None:
            stages.append("waits")
            overlapped.append(reduced.wait(next(patience)))
            stages.append("goes on")

        overlapped: list[bool] = []
        patience = iter((0, 20, 20))  # seconds; DDP arranges its buckets after the first pass
        module = DistributedDataParallel(Gated(), bucket_cap_mb=0.01)
        state = collsched.torch.state()
        intervals = state.record()
        module.register_comm_hook(state, hook)
        for _ in range(3):
            reduced.clear()
            stages.clear()
            module(torch.ones(4, WIDTH)).sum().backward()
        return [overlapped, stages, [interval.name for interval in intervals]]

    for overlapped, stages, intervals in results(job(body, backend="gloo")):
        assert overlapped[1:] == [True, True], stages
        assert stages.index("reduced 0") < stages.index("goes on") < stages.index("bucket 1")
        assert {"bucket 0", "bucket 1"} <= set(intervals)


def test_a_rank_that_dies_in_a_step_ends_training_on_all_ranks() -> None:
    def body(rank: int) -> None:
        module = ddp()
        state = collsched.torch.state()
        module.register_comm_hook(state, collsched.torch.allreduce_hook)
        for step in range(1000):
            if rank == 1 and step == 2:
                kill_self()
            train(module, rank, 1, of_ddp)

    outcomes = job(body, backend="gloo")
    for rank in (0, 2, 3):
        assert "EngineError" in outcomes[rank]["error"] and "rank 1" in outcomes[rank]["error"], outcomes[rank]
