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

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from collsched.collective import Kind
from collsched.errors import MissingComponentError
from collsched.runtime.peers import of_store
from collsched.torch.group import Group, Job
from collsched.torch.inner import inner_group
from collsched.torch.tensors import (
    alike,
    contiguous,
    elements,
    even_parts,
    in_place,
    into,
    is_shard,
    movable,
    reducible,
    reduction,
    room,
    spread,
    stacked,
)

_log = logging.getLogger("collsched.torch")
_told: set[str] = set()


class CollschedProcessGroup(dist.ProcessGroup):  # type: ignore[misc]
    """A process group whose collectives run by plans. Raises, in `wait`, what an engine raises: EngineError for a rank
    that ended or disagrees."""

    def __init__(self, store: Any, rank: int, size: int, timeout: timedelta, job: Job, ranks: list[int]) -> None:
        """`ranks`: the group's members by their numbers in the job. Collective."""
        super().__init__(rank, size)
        self._store, self._size, self._timeout = store, size, timeout
        self._job, self._ranks = job, ranks
        self._inner = inner_group(self, store, rank, size, timeout)
        self._groups: dict[str, Group | None] = {}
        self.group("cpu")

    def getBackendName(self) -> str:
        return "collsched"

    def get_group_store(self) -> Any:
        """The store of exactly this group's ranks."""
        return self._store

    def group(self, device: str) -> Group | None:
        """What serves tensors of a device; None if nothing does, which is logged. Collective when first asked."""
        if device not in self._groups:
            peers = of_store(dist.PrefixStore(f"collsched/{device}", self._store), self.rank(), self._size, "torch")
            try:
                self._groups[device] = Group(self._job, peers, self._ranks, device)
            except MissingComponentError as error:
                self._groups[device] = None
                _log.warning("%s collectives of ranks %s stay with torch's own: %s", device, self._ranks, error)
        return self._groups[device]

    def shutdown(self) -> None:
        for group in self._groups.values():
            if group is not None:
                group.close()
        self._groups.clear()
        super().shutdown()

    # Reductions.

    def allreduce(self, tensors: Any, opts: Any = None, **options: Any) -> Any:
        group = self._reducing(tensors, opts)
        if group is None:
            return self._elsewhere("allreduce", tensors, opts, **options)
        op = _op(opts)

        def call() -> None:
            for tensor in tensors:
                in_place(tensor, lambda flat: group.call(Kind.ALLREDUCE, flat, None, op))

        return group.run("allreduce", call, tensors, wait=not opts.asyncOp)

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

        return group.run("allreduce", call, tensors, wait=not opts.asyncOp)

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

        return group.run("reduce", call, tensors, wait=not opts.asyncOp)

    def reduce_scatter_single(self, output: Tensor, input: Tensor, opts: Any = None, **options: Any) -> Any:
        return self._scattered("reduce_scatter_single", output, input, opts, options)

    def reduce_scatter_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        return self._scattered("reduce_scatter_single_coalesced", outputs, inputs, opts, {})

    def _scattered(self, name: str, output: Any, input: Any, opts: Any, options: dict[str, Any]) -> Any:
        """Reduce-scatters of tensors of `ranks` times the size: one, or a list."""
        opts = dist.ReduceScatterOptions() if opts is None else opts
        shards, wholes = ([given] if isinstance(given, Tensor) else given for given in (output, input))
        group = self._reducing([*wholes, *shards], opts)
        if group is None or not all(is_shard(*pair, self._size) for pair in zip(shards, wholes, strict=True)):
            return self._elsewhere(_name(name), output, input, opts, **options)
        op = _op(opts)

        def scatter(shard: Tensor, whole: Tensor) -> None:
            flat = elements(contiguous(whole))
            into(shard, lambda out: group.call(Kind.REDUCE_SCATTER, flat, elements(out), op))

        def call() -> None:
            for shard, whole in zip(shards, wholes, strict=True):
                scatter(shard, whole)

        return group.run("reduce_scatter", call, shards, inputs=wholes, wait=not opts.asyncOp)

    def reduce_scatter(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        single = isinstance(outputs, list) and len(outputs) == 1
        group = self._reducing([outputs[0], *inputs[0]], opts) if single else None
        if group is None or not alike([outputs[0], *inputs[0]]):
            return self._elsewhere("reduce_scatter", outputs, inputs, opts, **options)
        op = _op(opts)

        def call() -> None:
            whole = elements(stacked(inputs[0]))
            into(outputs[0], lambda out: group.call(Kind.REDUCE_SCATTER, whole, elements(out), op))

        return group.run("reduce_scatter", call, outputs, inputs=inputs[0], wait=not opts.asyncOp)

    # Copies.

    def broadcast(self, tensors: Any, opts: Any = None, **options: Any) -> Any:
        group = self._moving(tensors, opts, Kind.BROADCAST)
        if group is None:
            return self._elsewhere("broadcast", tensors, opts, **options)
        root = opts.rootRank

        def call() -> None:
            for tensor in tensors:
                in_place(tensor, lambda flat: group.call(Kind.BROADCAST, flat, None, "sum", root))

        return group.run("broadcast", call, tensors, wait=not opts.asyncOp)

    def all_gather_single(self, output: Tensor, input: Tensor, opts: Any = None) -> Any:
        return self._gathered("all_gather_single", output, input, opts)

    def all_gather_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        return self._gathered("all_gather_single_coalesced", outputs, inputs, opts)

    def _gathered(self, name: str, output: Any, input: Any, opts: Any) -> Any:
        """Allgathers into tensors of `ranks` times the size: one, or a list."""
        opts = dist.AllgatherOptions() if opts is None else opts
        wholes, shards = ([given] if isinstance(given, Tensor) else given for given in (output, input))
        group = self._moving([*shards, *wholes], opts)
        if group is None or not all(is_shard(*pair, self._size) for pair in zip(shards, wholes, strict=True)):
            return self._elsewhere(_name(name), output, input, opts)

        def gather(whole: Tensor, shard: Tensor) -> None:
            flat = elements(contiguous(shard))
            into(whole, lambda out: group.call(Kind.ALLGATHER, flat, elements(out)))

        def call() -> None:
            for whole, shard in zip(wholes, shards, strict=True):
                gather(whole, shard)

        return group.run("allgather", call, wholes, inputs=shards, wait=not opts.asyncOp)

    def allgather(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        opts = dist.AllgatherOptions() if opts is None else opts
        single = isinstance(inputs, list) and len(inputs) == 1
        group = self._moving([*inputs, *outputs[0]], opts) if single else None
        if group is None or not alike([*inputs, *outputs[0]]):
            return self._elsewhere("allgather", outputs, inputs, opts, **options)

        def call() -> None:
            whole = room(outputs[0])
            group.call(Kind.ALLGATHER, elements(contiguous(inputs[0])), elements(whole))
            spread(whole, outputs[0])

        return group.run("allgather", call, outputs[0], inputs=inputs, wait=not opts.asyncOp)

    def allgather_coalesced(self, output_lists: Any, inputs: Any, opts: Any = None) -> Any:
        opts = dist.AllgatherOptions() if opts is None else opts
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

        return group.run("allgather", call, flat, inputs=inputs, wait=not opts.asyncOp)

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

        return group.run("gather", call, targets, inputs=inputs, wait=not opts.asyncOp)

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

        return group.run("scatter", call, outputs, inputs=sources, wait=not opts.asyncOp)

    # All to all.

    def all_to_all_single(
        self, output: Tensor, input: Tensor, output_sizes: Any, input_sizes: Any, opts: Any = None, **options: Any
    ) -> Any:
        opts = dist.AllToAllOptions() if opts is None else opts
        group = self._moving([input, output], opts)
        if group is None:
            name = _name("all_to_all_single")
            return self._elsewhere(name, output, input, output_sizes, input_sizes, opts, **options)
        # Only the rank itself knows its parts, so the ranks compare what theirs are.
        even = even_parts(output_sizes, output, self._size) and even_parts(input_sizes, input, self._size)
        even = even and output.numel() == input.numel() and output.dtype == input.dtype

        def call() -> None:
            if self._all(group, even):
                flat = elements(contiguous(input))
                into(output, lambda out: group.call(Kind.ALL_TO_ALL, flat, elements(out)))
            else:
                name = _name("all_to_all_single")
                _finish(self._elsewhere(name, output, input, output_sizes, input_sizes, opts))

        return group.run("all_to_all", call, [output], inputs=[input], wait=not opts.asyncOp)

    def alltoall(self, outputs: Any, inputs: Any, opts: Any = None, **options: Any) -> Any:
        opts = dist.AllToAllOptions() if opts is None else opts
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

        return group.run("all_to_all", call, outputs, inputs=inputs, wait=not opts.asyncOp)

    def _unequal(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor], opts: Any) -> None:
        """Parts of different sizes, as one buffer each way: gloo has no other form."""
        sizes = [[tensor.numel() for tensor in tensors] for tensors in (outputs, inputs)]
        whole = torch.empty(sum(sizes[0]), dtype=outputs[0].dtype, device=outputs[0].device)
        source = torch.cat([tensor.detach().reshape(-1) for tensor in inputs])
        _finish(self._elsewhere(_name("all_to_all_single"), whole, source, *sizes, opts))
        for part, tensor in zip(whole.split(sizes[0]), outputs, strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def _all(self, group: Group, yes: bool) -> bool:
        """Whether all ranks say yes. On the lane."""
        flag = torch.tensor([int(yes)], dtype=torch.int64, device=group.device)
        group.call(Kind.ALLREDUCE, flag, None, "min")
        return bool(flag.item())

    # Others.

    def barrier(self, opts: Any = None, **options: Any) -> Any:
        group = self._groups.get("cpu")
        if group is None:
            return self._elsewhere("barrier", *([] if opts is None else [opts]), **options)
        token = torch.zeros(1, dtype=torch.uint8)
        wait = opts is not None and not opts.asyncOp
        return group.run("barrier", lambda: group.call(Kind.ALLREDUCE, token, None, "max"), [token], wait=wait)

    def send(self, tensors: Any, dst: int, tag: int = 0) -> Any:
        return self._inner.send(tensors, dst, tag)

    def recv(self, tensors: Any, src: int, tag: int = 0) -> Any:
        return self._inner.recv(tensors, src, tag)

    def recv_anysource(self, tensors: Any, tag: int = 0) -> Any:
        return self._inner.recv_anysource(tensors, tag)

    def monitored_barrier(self, *arguments: Any, **options: Any) -> Any:
        return self._inner.monitored_barrier(*arguments, **options)

    # The names of torch before 2.13.
    _allgather_base = all_gather_single
    _reduce_scatter_base = reduce_scatter_single
    allgather_into_tensor_coalesced = all_gather_single_coalesced
    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced
    alltoall_base = all_to_all_single

    def _reducing(self, tensors: Any, opts: Any, kind: Kind = Kind.ALLREDUCE) -> Group | None:
        """What reduces these tensors by plans; None if nothing does."""
        op = reduction(getattr(opts, "reduceOp", None))
        if not all(isinstance(tensor, Tensor) and reducible(tensor, op) for tensor in tensors):
            return None
        return self._serving(tensors, opts, kind)

    def _moving(self, tensors: Any, opts: Any, kind: Kind = Kind.ALLGATHER) -> Group | None:
        """What copies these tensors by plans; None if nothing does."""
        if opts is None or not all(isinstance(tensor, Tensor) and movable(tensor) for tensor in tensors):
            return None
        return self._serving(tensors, opts, kind)

    def _serving(self, tensors: Sequence[Tensor], opts: Any, kind: Kind) -> Group | None:
        group = self.group(tensors[0].device.type) if tensors else None
        root = opts.rootRank if kind.rooted else None
        return group if group is not None and group.serves(kind, root) else None

    def _elsewhere(self, name: str, *arguments: Any, **options: Any) -> Any:
        """The same call of the inner group."""
        if name not in _told:
            _told.add(name)
            _log.info("%s: some calls are not covered by plans and go to torch's own group", name)
        call: Callable[..., Any] = getattr(self._inner, name)
        return call(*arguments, **options)


def _op(opts: Any) -> str:
    """The engines' name of the reduction of a call that they serve."""
    return str(reduction(opts.reduceOp))


_BEFORE = {
    "all_gather_single": "_allgather_base",
    "reduce_scatter_single": "_reduce_scatter_base",
    "all_gather_single_coalesced": "allgather_into_tensor_coalesced",
    "reduce_scatter_single_coalesced": "reduce_scatter_tensor_coalesced",
    "all_to_all_single": "alltoall_base",
}


def _name(name: str) -> str:
    """The method's name in this version of torch."""
    return name if hasattr(dist.ProcessGroup, name) else _BEFORE[name]


def _finish(work: Any) -> None:
    """Wait for a call of torch's own group, which gives nothing back if it is in order already."""
    if work is not None:
        work.wait()
