"""The collectives of the process group that copy from one rank to others."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor

from collsched.collective import Kind
from collsched.torch.covering import Covering, name_here, waits
from collsched.torch.tensors import alike, contiguous, elements, in_place, into, is_shard, room, spread, stacked


class Copies(Covering):
    """broadcast, allgather, gather, scatter, in torch's forms."""

    def broadcast(self, tensors: Any, opts: Any = None, **options: Any) -> Any:
        group = self._moving(tensors, opts, Kind.BROADCAST)
        if group is None:
            return self._elsewhere("broadcast", tensors, opts, **options)
        root = opts.rootRank

        def call() -> None:
            for tensor in tensors:
                in_place(tensor, lambda flat: group.call(Kind.BROADCAST, flat, None, "sum", root))

        return group.run("broadcast", call, tensors, wait=waits(opts))

    def all_gather_single(self, output: Tensor, input: Tensor, opts: Any = None) -> Any:
        return self._gathered("all_gather_single", output, input, opts)

    def all_gather_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        return self._gathered("all_gather_single_coalesced", outputs, inputs, opts)

    def _gathered(self, name: str, output: Any, input: Any, opts: Any) -> Any:
        """Allgathers into tensors of `ranks` times the size: one, or a list."""
        opts = dist.distributed_c10d.AllgatherOptions() if opts is None else opts
        wholes, shards = ([given] if isinstance(given, Tensor) else given for given in (output, input))
        group = self._moving([*shards, *wholes], opts)
        if group is None or not all(is_shard(*pair, self._size) for pair in zip(shards, wholes, strict=True)):
            return self._elsewhere(name_here(name), output, input, opts)

        def gather(whole: Tensor, shard: Tensor) -> None:
            flat = elements(contiguous(shard))
            into(whole, lambda out: group.call(Kind.ALLGATHER, flat, elements(out)))

        def call() -> None:
            for whole, shard in zip(wholes, shards, strict=True):
                gather(whole, shard)

        return group.run("allgather", call, wholes, inputs=shards, wait=waits(opts))

    def allgather(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        opts = dist.distributed_c10d.AllgatherOptions() if opts is None else opts
        single = isinstance(inputs, list) and len(inputs) == 1
        group = self._moving([*inputs, *outputs[0]], opts) if single else None
        if group is None or not alike([*inputs, *outputs[0]]):
            return self._elsewhere("allgather", outputs, inputs, opts, **options)

        def call() -> None:
            whole = room(outputs[0])
            group.call(Kind.ALLGATHER, elements(contiguous(inputs[0])), elements(whole))
            spread(whole, outputs[0])

        return group.run("allgather", call, outputs[0], inputs=inputs, wait=waits(opts))

    def allgather_coalesced(self, output_lists: Any, inputs: Any, opts: Any = None) -> Any:
        opts = dist.distributed_c10d.AllgatherOptions() if opts is None else opts
        # torch's lists are by rank, then by tensor.
        outputs = [[of_rank[i] for of_rank in output_lists] for i in range(len(inputs))]
        flat = [tensor for several in outputs for tensor in several]
        group = self._moving([*inputs, *flat], opts)
        if group is None or not all(alike([one, *several]) for one, several in zip(inputs, outputs, strict=True)):
            return self._elsewhere("allgather_coalesced", output_lists, inputs, opts)

        def call() -> None:
            for one, several in zip(inputs, outputs, strict=True):
                whole = room(several)
                group.call(Kind.ALLGATHER, elements(contiguous(one)), elements(whole))
                spread(whole, several)

        return group.run("allgather", call, flat, inputs=inputs, wait=waits(opts))

    def gather(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        group = self._moving(inputs, opts, Kind.GATHER)
        if group is None:
            return self._elsewhere("gather", outputs, inputs, opts, **options)
        root, targets = opts.rootRank, outputs[0] if self.rank() == opts.rootRank else []
        if targets and not alike([inputs[0], *targets]):
            raise ValueError("gather: the tensors of gather_list and the input differ in size or type")

        def call() -> None:
            shard = elements(contiguous(inputs[0]))
            if not targets:
                group.call(Kind.GATHER, shard, None, "sum", root)
                return
            whole = room(targets)
            group.call(Kind.GATHER, shard, elements(whole), "sum", root)
            spread(whole, targets)

        return group.run("gather", call, targets, inputs=inputs, wait=waits(opts))

    def scatter(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        group = self._moving(outputs, opts, Kind.SCATTER)
        if group is None:
            return self._elsewhere("scatter", outputs, inputs, opts, **options)
        root, sources = opts.rootRank, inputs[0] if self.rank() == opts.rootRank else []
        if sources and not alike([outputs[0], *sources]):
            raise ValueError("scatter: the tensors of scatter_list and the output differ in size or type")

        def call() -> None:
            whole = elements(stacked(sources)) if sources else None
            into(outputs[0], lambda out: group.call(Kind.SCATTER, whole, elements(out), "sum", root))

        return group.run("scatter", call, outputs, inputs=sources, wait=waits(opts))
