"""Which calls of a process group are covered by plans, and the inner group for the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor

from collsched.collective import Kind
from collsched.errors import MissingComponentError
from collsched.runtime.launchers import of_store
from collsched.torch.engines import CANDIDATES
from collsched.torch.group import Group, Job
from collsched.torch.inner import inner_group
from collsched.torch.tensors import movable, reducible, reduction

_log = logging.getLogger("collsched.torch")
_told: set[str] = set()


class Covering(dist.ProcessGroup):  # type: ignore[misc]
    """What the process group knows, and where its calls go."""

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
        """What serves tensors of a device; None if nothing does, which is logged. Collective when first asked.

        Raises MissingComponentError where the job asked for an engine by name, and it does not serve all ranks.
        """
        if device not in self._groups:
            peers = of_store(dist.PrefixStore(f"collsched/{device}", self._store), self.rank(), self._size, "torch")
            try:
                self._groups[device] = Group(self._job, peers, self._ranks, device)
            except MissingComponentError as error:
                if self._job.options.engine in CANDIDATES.get(device, ()) and self._ranks == self._job.everyone:
                    raise
                self._groups[device] = None
                _log.warning("%s collectives of ranks %s stay with torch's own: %s", device, self._ranks, error)
        return self._groups[device]

    def shutdown(self) -> None:
        for group in self._groups.values():
            if group is not None:
                group.close()
        self._groups.clear()
        super().shutdown()

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
            _log.warning("%s: some calls are not covered by plans and go to torch's own group", name)
        call: Callable[..., Any] = getattr(self._inner, name)
        return call(*arguments, **options)


_BEFORE = {
    "all_gather_single": "_allgather_base",
    "reduce_scatter_single": "_reduce_scatter_base",
    "all_gather_single_coalesced": "allgather_into_tensor_coalesced",
    "reduce_scatter_single_coalesced": "reduce_scatter_tensor_coalesced",
    "all_to_all_single": "alltoall_base",
}


def name_here(name: str) -> str:
    """The method's name in this version of torch."""
    return name if hasattr(dist.ProcessGroup, name) else _BEFORE[name]


def waits(opts: Any) -> bool:
    """Whether the caller waits for a call anyway; not every version of torch says so."""
    return not getattr(opts, "asyncOp", True)


def finish(work: Any) -> None:
    """Wait for a call of torch's own group, which gives nothing back if it is in order already."""
    if work is not None:
        work.wait()
