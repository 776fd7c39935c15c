"""FSDP2's collectives by plans:

    state = collsched.torch.state(topology)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            collsched.torch.use(state, module)

torch 2.12 and 2.13 have `set_custom_all_gather` and `set_custom_reduce_scatter` in one form. What there is is found by
its form, not by a version number.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from collsched.collective import Kind
from collsched.errors import MissingComponentError
from collsched.torch.hooks import State
from collsched.torch.tensors import elements, movable, reducible, reduction

try:
    from torch.distributed.fsdp._fully_shard import _fsdp_api as _api

    _AllGather, _ReduceScatter = _api.AllGather, _api.ReduceScatter
except (ImportError, AttributeError):  # older: `use` says so
    _AllGather = _ReduceScatter = object

_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # of torch 2.13; before
_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_log = logging.getLogger("collsched.torch")
_told: set[str] = set()


class _Memory:
    """Where FSDP's buffers lie: in memory that the engine moves without copying it first, if it has such."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._process_group = state.process_group

    def allocate(self, size: Sequence[Any], *, dtype: Any, device: Any) -> Tensor:
        numel = math.prod(int(extent) for extent in size)
        memory = None
        if device.type == "cpu":
            memory = self._state.group(self._process_group, "cpu").empty(numel, dtype)
        return torch.empty(*size, dtype=dtype, device=device) if memory is None else memory.view(*size)


class AllGather(_Memory, _AllGather):  # type: ignore[misc, valid-type]
    """For `module.set_custom_all_gather`. Serves one module and its mesh."""

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        self._process_group = group
        found = self._state.group(group, input_tensor.device.type)
        if not (movable(input_tensor) and input_tensor.is_contiguous() and output_tensor.is_contiguous()):
            _tell("all-gather of a tensor that is not contiguous")
            return _gather(output_tensor, input_tensor, group=group, async_op=async_op)

        def call() -> None:
            found.call(Kind.ALLGATHER, elements(input_tensor), elements(output_tensor))

        return _started(
            found.run("allgather", call, [output_tensor], inputs=[input_tensor], wait=not async_op), async_op
        )


class ReduceScatter(_Memory, _ReduceScatter):  # type: ignore[misc, valid-type]
    """For `module.set_custom_reduce_scatter`. Serves one module and its mesh."""

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        self._process_group = group
        found = self._state.group(group, input_tensor.device.type)
        name = reduction(op)
        if not reducible(input_tensor, name):
            _tell(f"reduce-scatter by {op} of {input_tensor.dtype}")
            return _scatter(output_tensor, input_tensor, op=op, group=group, async_op=async_op)

        def call() -> None:
            found.call(Kind.REDUCE_SCATTER, elements(input_tensor), elements(output_tensor), str(name))

        work = found.run("reduce_scatter", call, [output_tensor], inputs=[input_tensor], wait=not async_op)
        return _started(work, async_op)


def use(state: State, module: Any) -> None:
    """Let an FSDP2 module gather its parameters and scatter its gradients by plans.

    Raises MissingComponentError where this torch cannot replace them.
    """
    if _AllGather is object or not hasattr(module, "set_custom_all_gather"):
        raise MissingComponentError(
            f"torch {torch.__version__} or {type(module).__name__} has no set_custom_all_gather: it needs torch 2.12 "
            'and a module that fully_shard has seen; the process group "collsched" works without'
        )
    module.set_custom_all_gather(AllGather(state))
    module.set_custom_reduce_scatter(ReduceScatter(state))


def _started(work: Any, async_op: bool) -> Any:
    """torch's custom: a Work if the caller waits for it, else the call is done, or in order, on return."""
    if async_op:
        return work
    work.wait()
    return None


def _tell(what: str) -> None:
    if what not in _told:
        _told.add(what)
        _log.warning("%s stays with torch's own group", what)
