"""Gradients of DistributedDataParallel by plans, while the backward pass goes on.

    ddp.register_comm_hook(collsched.torch.state(topology), collsched.torch.allreduce_hook)

Every bucket is averaged over the group as soon as DDP hands it over: on the group's thread (CPU) or side stream (CUDA).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from collsched.collective import Kind
from collsched.errors import InputError
from collsched.runtime.launchers import of_store
from collsched.torch.backend import job
from collsched.torch.group import Group, Job
from collsched.torch.lane import Interval
from collsched.torch.options import Options, Source
from collsched.torch.tensors import elements

Compression = Literal["bf16"]
_states: dict[str, int] = {}  # made so far, by group: a name for what each keeps in the group's store


class State:
    """What hooks and FSDP's collectives need: the plans of a job, and the groups that it has met."""

    def __init__(self, described: Job, group: Any, name: str, compress: Compression | None) -> None:
        self._job, self._name = described, name
        self._world = dist.get_process_group_ranks(group)
        self._groups: dict[tuple[str, str], Group] = {}
        self._padded: dict[int, Tensor] = {}
        self.process_group = group
        self.compress = compress

    def group(self, process_group: Any, device: str) -> Group:
        """What serves a process group, of the state's ranks or some of them, for tensors of a device. Collective among
        its ranks when first asked. Raises MissingComponentError where no engine serves them."""
        key = process_group.group_name, device
        if key not in self._groups:
            ranks = [self._world.index(rank) for rank in dist.get_process_group_ranks(process_group)]
            store = dist.PrefixStore(f"{self._name}/{device}", store_of(process_group))
            peers = of_store(store, process_group.rank(), process_group.size(), "torch")
            self._groups[key] = Group(self._job, peers, ranks, device)
        return self._groups[key]

    def record(self, device: str = "cpu") -> list[Interval]:
        """From now on, the calls of the state's own group appear in this list as they end, with their times."""
        return self.group(self.process_group, device).lane.record()

    def close(self) -> None:
        """Finish what is under way and give the engines' memory back."""
        for group in self._groups.values():
            group.close()
        self._groups.clear()


def state(
    source: Source | None = None,
    *,
    group: Any = None,
    device: str | None = None,
    compress: Compression | None = None,
    options: Options | None = None,
) -> State:
    """A State for a process group of any backend (the default one). Collective, before the first step.

    `source`: a topology or plans, see `Options`; `options` instead has all settings. `device`: where the tensors will
    be, "cpu" or "cuda", which it is by default where there are GPUs. `compress="bf16"`: DDP's gradients travel as
    bfloat16 and are added in float32, see `allreduce_hook`.

    Raises InputError on all ranks where they do not fit the topology or the plans, or where they differ;
    MissingComponentError where no engine serves them.
    """
    if options is not None and source is not None:
        raise InputError("source is given twice; put it into options alone")
    if compress not in (None, "bf16"):
        raise InputError(f"compress {compress!r}; choose 'bf16' or None")
    group = dist.group.WORLD if group is None else group
    number = _states[group.group_name] = _states.get(group.group_name, -1) + 1
    name = f"collsched/state{number}"
    store = dist.PrefixStore(name, store_of(group))
    described = job(store, group.rank(), group.size(), options or Options(source))
    made = State(described, group, name, compress)
    made.group(group, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return made


def allreduce_hook(state: State, bucket: Any) -> Any:
    """DDP's communication hook: a future of the bucket's gradients, averaged.

    With `compress="bf16"` every rank gets its share of all others' gradients as bfloat16 (an all-to-all), adds them in
    float32, and sends the sum round as bfloat16 (an allgather): half the bytes of float32, two roundings in all. An
    all-to-all crosses a slow cut with every rank's share, where a reduce-scatter crosses it with their sum.
    """
    buffer: Tensor = bucket.buffer()
    group = state.group(state.process_group, buffer.device.type)
    if state.compress is None or buffer.dtype == torch.bfloat16:

        def call() -> None:
            group.call(Kind.ALLREDUCE, elements(buffer), None, "avg")
    else:

        def call() -> None:
            _compressed(group, buffer)

    work = group.run(f"bucket {bucket.index()}", call, [buffer], finish=lambda _: buffer)
    return work.get_future()


# DDP looks at the annotations, which must be these objects and not their names.
allreduce_hook.__annotations__ = {"bucket": dist.GradBucket, "return": torch.futures.Future[torch.Tensor]}


def _compressed(group: Group, buffer: Tensor) -> None:
    """The average of all ranks' buffers in each of them, over bfloat16. On the lane."""
    ranks, numel = group.peers.ranks, buffer.numel()
    share = -(-numel // ranks)
    sent = torch.zeros(share * ranks, dtype=torch.bfloat16, device=buffer.device)
    sent[:numel].copy_(buffer)
    received = torch.empty_like(sent)
    group.call(Kind.ALL_TO_ALL, sent, received)
    total = received.view(ranks, share).sum(dim=0, dtype=torch.float32).div_(ranks)
    group.call(Kind.ALLGATHER, total.to(torch.bfloat16), sent)
    buffer.copy_(sent[:numel])


def store_of(group: Any) -> Any:
    """The store that only a group's ranks use."""
    known = getattr(group, "get_group_store", None)
    return dist.distributed_c10d._get_process_group_store(group) if known is None else known()
