"""MPI by way of mpi4py, with the algorithms that the library lets a running process choose."""

from __future__ import annotations

from typing import Any

import numpy as np

from collsched.bench.baselines import mpi_settings
from collsched.bench.sides import DEFAULT, Call, Place
from collsched.bench.sweep import Case
from collsched.collective import Kind
from collsched.errors import EngineError
from collsched.runtime import launchers
from collsched.runtime.dtypes import carrier
from collsched.runtime.layout import Role

_OPS = {"sum": "SUM", "prod": "PROD", "min": "MIN", "max": "MAX"}


def missing(place: Place) -> tuple[str, bool] | None:
    if not launchers.started_by_mpi():
        ranks = place.control.ranks
        return f"these processes were not started by MPI; use `mpirun -n {ranks} collsched bench …`", False
    try:
        from mpi4py import MPI
    except ImportError as error:
        return f"mpi4py cannot be used ({error}); pip install mpi4py", True
    if (place.rank, place.control.ranks) != (MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size):
        return (
            f"rank {place.rank} of {place.control.ranks} is rank {MPI.COMM_WORLD.rank} of {MPI.COMM_WORLD.size} to "
            "MPI; use mpirun of the MPI that mpi4py was built for"
        ), False
    if place.device != "cpu":
        return (
            f"buffers in {place.device} memory need an MPI built for it, and nothing tells whether this one is",
            False,
        )
    return None


def connect(place: Place) -> MpiBaseline:
    return MpiBaseline(place)


class MpiBaseline:
    engine = "mpi"

    def __init__(self, place: Place) -> None:
        from mpi4py import MPI

        self._place = place
        name, numbers = MPI.get_vendor()
        self.version = f"{name} {'.'.join(map(str, numbers))}"
        self._tool = mpi_settings.open_tool(name, place.collective.kind, len(place.collective.group))
        self._sides: dict[str, MpiSide] = {}

    def lacks(self, case: Case) -> str | None:
        kind = self._place.collective.kind
        if kind.reduces and case.op not in _OPS:
            return f"MPI has no {case.op}"
        if kind.reduces and case.dtype in ("float16", "bfloat16"):
            return f"MPI has no {case.dtype} that every implementation reduces"
        if kind is Kind.BROADCAST and not case.in_place:
            return "MPI_Bcast works in place only"
        if kind is Kind.REDUCE_SCATTER and case.in_place:
            return "in place MPI leaves every rank's part at the start of its array, not where it belongs"
        if kind is Kind.ALL_TO_ALL and case.in_place and not self._place.equal:
            return "parts of unequal sizes have no place of their own"
        return None

    def settings(self) -> list[str]:
        return list(self._tool.settings)

    def side(self, setting: str) -> MpiSide:
        """In a communicator of its own, since Open MPI fixes the algorithm when it makes one."""
        if setting not in self._sides:
            from mpi4py import MPI

            self._tool.choose(setting)
            color = MPI.UNDEFINED if self._place.member is None else 0
            communicator = MPI.COMM_WORLD.Split(color, self._place.rank)
            self._tool.choose(DEFAULT)
            self._sides[setting] = MpiSide(self._place, communicator, setting, self._tool)
        return self._sides[setting]

    def close(self) -> None:
        for side in self._sides.values():
            side.free()


class MpiSide:
    engine = "mpi"

    def __init__(self, place: Place, communicator: Any, setting: str, tool: mpi_settings.Tool) -> None:
        from mpi4py import MPI

        self.setting = setting
        self._mpi, self._place, self._communicator, self._tool = MPI, place, communicator, tool

    def align(self) -> None:
        if self._place.member is not None:
            self._communicator.Barrier()

    def call(self, case: Case, role: Role, x: Any, out: Any) -> Call:
        if self._tool.at_call:
            self._tool.choose(self.setting)
        if self._place.member is None:
            return lambda: None
        made = self._make(case, role, x, out)
        failure = self._mpi.Exception

        def run() -> None:
            try:
                made()
            except failure as error:
                raise EngineError(f"MPI failed on rank {self._place.rank} ({self.setting}): {error}") from None

        return run

    def free(self) -> None:
        if self._place.member is not None:
            self._communicator.Free()

    def _make(self, case: Case, role: Role, x: Any, out: Any) -> Call:
        mpi, group, kind, root = self._mpi, self._communicator, self._place.collective.kind, self._place.root
        element, unit = mpi.Datatype.fromcode(carrier(case.dtype).char), 1
        if not kind.reduces:  # whatever the elements are
            element, unit = mpi.BYTE, carrier(case.dtype).itemsize
        x, out = (None if array is None else array.view(np.uint8 if unit > 1 else array.dtype) for array in (x, out))
        inside = case.in_place and x is not None and out is not None
        given, got = mpi.IN_PLACE if inside else _spec(x, element), _spec(out, element)
        op, sizes = getattr(mpi, _OPS.get(case.op, "SUM")), np.diff(role.borders(case.count)) * unit
        if kind is Kind.ALLREDUCE:
            return lambda: group.Allreduce(given, got, op)
        if kind is Kind.REDUCE:
            return lambda: group.Reduce(given, got, op, root)
        if kind is Kind.BROADCAST:
            return lambda: group.Bcast(_spec(out if x is None else x, element), root)
        if kind is Kind.SCATTER:
            given, got = _spec(x, element), mpi.IN_PLACE if inside else got
        return self._parted(kind, sizes, op, [x, out], [given, got], element)

    def _parted(self, kind: Kind, sizes: Any, op: Any, arrays: list[Any], specs: list[Any], element: Any) -> Call:
        """Collectives of one part a rank, or a pair of ranks, of `sizes`."""
        group, root, (x, out), (given, got) = self._communicator, self._place.root, arrays, specs
        if len(set(sizes)) == 1:
            calls: dict[Kind, Call] = {
                Kind.ALLGATHER: lambda: group.Allgather(given, got),
                Kind.REDUCE_SCATTER: lambda: group.Reduce_scatter_block(given, got, op),
                Kind.GATHER: lambda: group.Gather(given, got, root),
                Kind.SCATTER: lambda: group.Scatter(given, got, root),
                Kind.ALL_TO_ALL: lambda: group.Alltoall(given, got),
            }
            return calls[kind]
        members, me = group.size, group.rank
        if kind is Kind.ALL_TO_ALL:
            sent, received = [x, sizes[me * members : (me + 1) * members], element], [out, sizes[me::members], element]
            return lambda: group.Alltoallv(sent, received)
        all_of = {name: None if array is None else [array, sizes, element] for name, array in (("x", x), ("out", out))}
        unequal: dict[Kind, Call] = {
            Kind.ALLGATHER: lambda: group.Allgatherv(given, all_of["out"]),
            Kind.REDUCE_SCATTER: lambda: group.Reduce_scatter(given, got, sizes, op),
            Kind.GATHER: lambda: group.Gatherv(given, all_of["out"], root),
            Kind.SCATTER: lambda: group.Scatterv(all_of["x"], got, root),
        }
        return unequal[kind]


def _spec(array: Any, element: Any) -> Any:
    return None if array is None else [array, element]
