"""The collectives of the process group that reduce."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from collsched.collective import Kind
from collsched.torch.covering import Covering, name_here, waits
from collsched.torch.tensors import alike, contiguous, elements, in_place, into, is_shard, reduction, stacked


class Reductions(Covering):
    """allreduce, reduce, reduce-scatter, in torch's forms."""

    def allreduce(self, tensors: Any, opts: Any = None, **options: Any) -> Any:
        group = self._reducing(tensors, opts)
        if group is None:
            return self._elsewhere("allreduce", tensors, opts, **options)
        op = _op(opts)

        def call() -> None:
            for tensor in tensors:
                in_place(tensor, lambda flat: group.call(Kind.ALLREDUCE, flat, None, op))

        return group.run("allreduce", call, tensors, wait=waits(opts))

    def allreduce_coalesced(self, tensors: Any, opts: Any = None) -> Any:
        group = self._reducing(tensors, opts)
        if group is None or len({tensor.dtype for tensor in tensors}) > 1:
            return self._elsewhere("allreduce_coalesced", tensors, opts)
        op = _op(opts)

        def call() -> None:
            whole = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
            group.call(Kind.ALLREDUCE, elements(whole), None, op)
            for part, tensor in zip(whole.split([tensor.numel() for tensor in tensors]), tensors, strict=True):
                tensor.detach().copy_(part.view(tensor.shape))

        return group.run("allreduce", call, tensors, wait=waits(opts))

    def reduce(self, tensors: Any, opts: Any = None, *arguments: Any, **options: Any) -> Any:
        group = None if arguments or options else self._reducing(tensors, opts, Kind.REDUCE)
        if group is None:
            return self._elsewhere("reduce", tensors, opts, *arguments, **options)
        op, root = _op(opts), opts.rootRank

        def call() -> None:
            if self.rank() == root:
                in_place(tensors[0], lambda flat: group.call(Kind.REDUCE, flat, None, op, root))
            else:
                group.call(Kind.REDUCE, elements(contiguous(tensors[0])), None, op, root)

        return group.run("reduce", call, tensors, wait=waits(opts))

    def reduce_scatter_single(self, output: Tensor, input: Tensor, opts: Any = None, **options: Any) -> Any:
        return self._scattered("reduce_scatter_single", output, input, opts, options)

    def reduce_scatter_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        return self._scattered("reduce_scatter_single_coalesced", outputs, inputs, opts, {})

    def _scattered(self, name: str, output: Any, input: Any, opts: Any, options: dict[str, Any]) -> Any:
        """Reduce-scatters of tensors of `ranks` times the size: one, or a list."""
        opts = dist.distributed_c10d.ReduceScatterOptions() if opts is None else opts
        shards, wholes = ([given] if isinstance(given, Tensor) else given for given in (output, input))
        group = self._reducing([*wholes, *shards], opts)
        if group is None or not all(is_shard(*pair, self._size) for pair in zip(shards, wholes, strict=True)):
            return self._elsewhere(name_here(name), output, input, opts, **options)
        op = _op(opts)

        def scatter(shard: Tensor, whole: Tensor) -> None:
            flat = elements(contiguous(whole))
            into(shard, lambda out: group.call(Kind.REDUCE_SCATTER, flat, elements(out), op))

        def call() -> None:
            for shard, whole in zip(shards, wholes, strict=True):
                scatter(shard, whole)

        return group.run("reduce_scatter", call, shards, inputs=wholes, wait=waits(opts))

    def reduce_scatter(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        single = isinstance(outputs, list) and len(outputs) == 1
        group = self._reducing([outputs[0], *inputs[0]], opts) if single else None
        if group is None or not alike([outputs[0], *inputs[0]]):
            return self._elsewhere("reduce_scatter", outputs, inputs, opts, **options)
        op = _op(opts)

        def call() -> None:
            whole = elements(stacked(inputs[0]))
            into(outputs[0], lambda out: group.call(Kind.REDUCE_SCATTER, whole, elements(out), op))

        return group.run("reduce_scatter", call, outputs, inputs=inputs[0], wait=waits(opts))


def _op(opts: Any) -> str:
    """The engines' name of the reduction of a call that they serve."""
    return str(reduction(opts.reduceOp))
