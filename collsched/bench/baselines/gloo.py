"""gloo by way of torch.distributed, in a process group of its own.

torch chooses gloo's algorithms itself and offers no other (ring for an allreduce), so the default is also the best
setting there is.
"""

from __future__ import annotations

import os
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import numpy as np

from collsched.bench.sides import DEFAULT, Call, Place
from collsched.bench.sweep import Case
from collsched.collective import Kind
from collsched.errors import EngineError
from collsched.runtime.layout import Role

_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int32", "int64")
_INTERFACE = "GLOO_SOCKET_IFNAME"


def missing(place: Place) -> tuple[str, bool] | None:
    if find_spec("torch") is None:
        return "torch is not installed; pip install torch", True
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_gloo_available():
        return "this torch is built without gloo; install another build", True
    if place.device != "cpu":
        return f"gloo serves buffers in CPU memory, and this engine's are in {place.device} memory", False
    return None


def connect(place: Place) -> GlooBaseline:
    return GlooBaseline(place)


class GlooBaseline:
    engine = "gloo"

    def __init__(self, place: Place) -> None:
        import torch
        import torch.distributed as dist

        self._place = place
        self._own = not dist.is_initialized()
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)  # as torchrun does
        if place.control.host == "127.0.0.1":
            os.environ.setdefault(_INTERFACE, "lo")  # what a host's name resolves to may be anything
        self.version = f"torch {torch.__version__}"
        store = self._store(place)
        try:
            dist.init_process_group(
                "gloo",
                store=dist.PrefixStore("bench", store),
                rank=place.rank,
                world_size=place.control.ranks,
                timeout=timedelta(minutes=5),
            )
            # Of all ranks: new_group is collective, and ranks outside the group call nothing.
            group = place.collective.group
            self._group = dist.group.WORLD if len(group) == place.control.ranks else dist.new_group(list(group))
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"gloo cannot connect the ranks: {_first_line(error)}") from None

    @staticmethod
    def _store(place: Place) -> Any:
        import torch.distributed as dist

        ranks, host = place.control.ranks, place.control.host
        if place.rank == 0:
            store = dist.TCPStore(host, 0, ranks, is_master=True, wait_for_workers=False)
            place.control.gather(store.port)
            return store
        port = place.control.gather(None)[0]
        return dist.TCPStore(host, port, ranks, is_master=False, wait_for_workers=False)

    def lacks(self, case: Case) -> str | None:
        kind = self._place.collective.kind
        if case.dtype not in _DTYPES:
            return f"torch's gloo has no {case.dtype}"
        if kind.reduces and case.op == "avg":
            return "gloo has no avg"
        if not self._place.equal and kind in (Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.GATHER, Kind.SCATTER):
            return "torch's gloo has no parts of unequal sizes"
        if kind is Kind.ALL_TO_ALL and (not self._place.equal or case.count % len(self._place.collective.group)):
            return "torch's gloo has no parts of unequal sizes"
        if kind in (Kind.ALLREDUCE, Kind.BROADCAST, Kind.REDUCE) and not case.in_place:
            return "it works in place only"
        if kind not in (Kind.ALLREDUCE, Kind.BROADCAST, Kind.REDUCE) and case.in_place:
            return "it works out of place only"
        return None

    def settings(self) -> list[str]:
        return []

    def side(self, setting: str) -> GlooSide:
        return GlooSide(self._place, self._group)

    def close(self) -> None:
        import torch.distributed as dist

        if self._own and dist.is_initialized():
            dist.destroy_process_group()


class GlooSide:
    engine = "gloo"
    setting = DEFAULT

    def __init__(self, place: Place, group: Any) -> None:
        import torch.distributed as dist

        self._dist, self._place, self._group = dist, place, group

    def align(self) -> None:
        if self._place.member is not None:
            self._run(lambda: self._dist.barrier(self._group))

    def call(self, case: Case, role: Role, x: Any, out: Any) -> Call:
        if self._place.member is None:
            return lambda: None
        made = self._make(case, _tensor(x, case.dtype), _tensor(out, case.dtype))
        return lambda: self._run(made)

    def _make(self, case: Case, x: Any, out: Any) -> Call:
        dist, group, kind = self._dist, self._group, self._place.collective.kind
        root, size = self._place.collective.root, len(self._place.collective.group)
        op = getattr(dist.ReduceOp, {"prod": "PRODUCT"}.get(case.op, case.op.upper()))
        buffer = out if x is None else x
        parts = [] if self._place.rank != root else list((x if kind is Kind.SCATTER else out).chunk(size))
        # The names of torch 2.13, or those before.
        gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
        scatter = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)
        calls: dict[Kind, Call] = {
            Kind.ALLREDUCE: lambda: dist.all_reduce(buffer, op, group),
            Kind.REDUCE: lambda: dist.reduce(buffer, root, op, group),
            Kind.BROADCAST: lambda: dist.broadcast(buffer, root, group),
            Kind.ALLGATHER: lambda: gather(out, x, group),
            Kind.REDUCE_SCATTER: lambda: scatter(out, x, op, group),
            Kind.GATHER: lambda: dist.gather(x, parts or None, root, group),
            Kind.SCATTER: lambda: dist.scatter(out, parts or None, root, group),
            Kind.ALL_TO_ALL: lambda: dist.all_to_all_single(out, x, group=group),
        }
        return calls[kind]

    def _run(self, call: Call) -> None:
        try:
            call()
        except RuntimeError as error:
            raise EngineError(f"gloo failed on rank {self._place.rank}: {_first_line(error)}") from None


def _tensor(array: Any, dtype: str) -> Any:
    """The array's memory as a tensor."""
    import torch

    if array is None:
        return None
    if dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
