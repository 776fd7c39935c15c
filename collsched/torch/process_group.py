"""The process group "collsched" of torch.distributed.

    import collsched.torch
    torch.distributed.init_process_group("collsched", init_method="collsched://")

Collectives that a plan covers run by plans on an engine. The rest goes to an inner group of gloo (CPU) or NCCL (CUDA):
point to point, bitwise reductions, unequal parts, sparse tensors; each is logged once. Whether a plan covers a call
follows from what all ranks know alike, so they decide alike; where it does not, they compare first.

torch calls methods by names that depend on its version: 2.13 `all_gather_single`, before that `_allgather_base`, and
alike for reduce-scatter and all-to-all. All of these are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from collsched.collective import Kind
from collsched.torch.copies import Copies
from collsched.torch.covering import finish, name_here, waits
from collsched.torch.group import Group
from collsched.torch.reductions import Reductions
from collsched.torch.tensors import alike, contiguous, elements, even_parts, into, room, spread, stacked


class CollschedProcessGroup(Reductions, Copies):
    """A process group whose collectives run by plans. Raises, in `wait`, what an engine raises: EngineError for a rank
    that ended or disagrees."""

    def all_to_all_single(
        self, output: Tensor, input: Tensor, output_sizes: Any, input_sizes: Any, opts: Any = None, **options: Any
    ) -> Any:
        opts = dist.distributed_c10d.AllToAllOptions() if opts is None else opts
        group = self._moving([input, output], opts)
        if group is None:
            name = name_here("all_to_all_single")
            return self._elsewhere(name, output, input, output_sizes, input_sizes, opts, **options)
        # Only the rank itself knows its parts, so the ranks compare what theirs are.
        even = even_parts(output_sizes, output, self._size) and even_parts(input_sizes, input, self._size)
        even = even and output.numel() == input.numel() and output.dtype == input.dtype

        def call() -> None:
            if self._all(group, even):
                flat = elements(contiguous(input))
                into(output, lambda out: group.call(Kind.ALL_TO_ALL, flat, elements(out)))
            else:
                name = name_here("all_to_all_single")
                finish(self._elsewhere(name, output, input, output_sizes, input_sizes, opts))

        return group.run("all_to_all", call, [output], inputs=[input], wait=waits(opts))

    def alltoall(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        opts = dist.distributed_c10d.AllToAllOptions() if opts is None else opts
        group = self._moving([*inputs, *outputs], opts)
        if group is None:
            return self._elsewhere("alltoall", outputs, inputs, opts, **options)
        even = alike([*inputs, *outputs])

        def call() -> None:
            if self._all(group, even):
                whole = room(outputs)
                source = stacked(inputs)
                group.call(Kind.ALL_TO_ALL, elements(source), elements(whole))
                spread(whole, outputs)
            else:
                self._unequal(outputs, inputs, opts)

        return group.run("all_to_all", call, outputs, inputs=inputs, wait=waits(opts))

    def _unequal(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor], opts: Any) -> None:
        """Parts of different sizes, as one buffer each way: gloo has no other form."""
        sizes = [[tensor.numel() for tensor in tensors] for tensors in (outputs, inputs)]
        whole = torch.empty(sum(sizes[0]), dtype=outputs[0].dtype, device=outputs[0].device)
        source = torch.cat([tensor.detach().reshape(-1) for tensor in inputs])
        finish(self._elsewhere(name_here("all_to_all_single"), whole, source, *sizes, opts))
        for part, tensor in zip(whole.split(sizes[0]), outputs, strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def _all(self, group: Group, yes: bool) -> bool:
        """Whether all ranks say yes. On the lane."""
        flag = torch.tensor([int(yes)], dtype=torch.int64, device=group.device)
        group.call(Kind.ALLREDUCE, flag, None, "min")
        return bool(flag.item())

    def barrier(self, opts: Any = None, **options: Any) -> Any:
        group = self._groups.get("cpu")
        if group is None:
            return self._elsewhere("barrier", *([] if opts is None else [opts]), **options)
        token = torch.zeros(1, dtype=torch.uint8)

        def call() -> None:
            if self._groups.get("cuda") is not None:
                torch.cuda.synchronize()  # as with NCCL: what was enqueued before is done
            group.call(Kind.ALLREDUCE, token, None, "max")

        return group.run("barrier", call, [token], wait=waits(opts))

    def send(self, tensors: Any, dst: int, tag: int = 0) -> Any:
        return self._inner.send(tensors, dst, tag)

    def recv(self, tensors: Any, src: int, tag: int = 0) -> Any:
        return self._inner.recv(tensors, src, tag)

    def recv_anysource(self, tensors: Any, tag: int = 0) -> Any:
        return self._inner.recv_anysource(tensors, tag)

    def monitored_barrier(self, *arguments: Any, **options: Any) -> Any:
        return self._inner.monitored_barrier(*arguments, **options)

    # The names of torch before 2.13.
    _allgather_base = Copies.all_gather_single
    _reduce_scatter_base = Reductions.reduce_scatter_single
    allgather_into_tensor_coalesced = Copies.all_gather_single_coalesced
    reduce_scatter_tensor_coalesced = Reductions.reduce_scatter_single_coalesced
    alltoall_base = all_to_all_single
