"""Train a small language model with FSDP2 (`fully_shard`), its all-gathers and reduce-scatters by compiled plans.

collsched launch -n 4 -- python examples/train_fsdp.py
torchrun --nproc-per-node 4 examples/train_fsdp.py --compare
mpirun -n 4 python examples/train_fsdp.py --topology topo.yaml
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from language_model import LanguageModel, Trained, arguments, model, run
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter

import collsched.torch


def sharded() -> LanguageModel:
    whole = model()
    for block in whole.blocks:
        fully_shard(block)
    fully_shard(whole)
    return whole


def use(module: torch.nn.Module, gather: Callable[[], Any], scatter: Callable[[], Any], trained: Trained) -> None:
    """Let every part that has parameters of its own communicate by these, and note when."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_custom_all_gather(timed(gather(), trained))
            part.set_custom_reduce_scatter(timed(scatter(), trained))


def timed(communication: Any, trained: Trained) -> Any:
    """The same object, whose calls are noted."""

    class Timed(type(communication)):  # type: ignore[misc]
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            work = super().__call__(*arguments, **options)
            trained.calls.append((begin, time.perf_counter()))
            return work

    communication.__class__ = Timed
    return communication


def main() -> int:
    options = arguments("FSDP2 with collectives by plans")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="collsched://")
    state = collsched.torch.state(options.topology)

    ours = Trained("collsched", sharded())
    gather, scatter = collsched.torch.AllGather, collsched.torch.ReduceScatter
    use(ours.module, lambda: gather(state), lambda: scatter(state), ours)

    def by_gloo() -> Trained:
        gloo = Trained("gloo", sharded())
        use(gloo.module, DefaultAllGather, DefaultReduceScatter, gloo)
        return gloo

    code = run(options, ours, by_gloo)
    state.close()
    dist.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main())
