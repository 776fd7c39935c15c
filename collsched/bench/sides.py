"""What is compared: the plan's communicator, and libraries that do the same collective on the same buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from collsched.bench.control import Control
from collsched.bench.sweep import Case
from collsched.collective import Collective, Kind
from collsched.runtime.communicator import Communicator
from collsched.runtime.layout import Role

Call = Callable[[], Any]
DEFAULT = "default"
_COUNTED = (Kind.ALLGATHER, Kind.GATHER, Kind.SCATTER, Kind.ALL_TO_ALL)  # whose methods take the size of the whole


@dataclass(frozen=True)
class Place:
    """This rank among the others, and where the buffers are."""

    collective: Collective
    control: Control
    device: str

    @property
    def rank(self) -> int:
        return self.control.rank

    @property
    def member(self) -> int | None:
        """The rank's number within the group; None outside it."""
        group = self.collective.group
        return group.index(self.rank) if self.rank in group else None

    @property
    def root(self) -> int:
        """The root's number within the group; 0 where there is none."""
        return 0 if self.collective.root is None else self.collective.group.index(self.collective.root)

    @property
    def equal(self) -> bool:
        """Whether all shards have one size."""
        return len(set(self.collective.shards)) == 1


class Side(Protocol):
    """One contender in one setting. `align` and the calls are collective."""

    engine: str
    setting: str

    def call(self, case: Case, role: Role, x: Any, out: Any) -> Call:
        """What is timed, made ready."""

    def align(self) -> None:
        """Returns once all ranks are here, by the side's own means, so that what follows starts from its own state."""


class Baseline(Protocol):
    """A library. `open` and `side` are collective; the rest is alike on all ranks."""

    engine: str
    version: str

    def lacks(self, case: Case) -> str | None:
        """Why it has no such call; None if it has."""

    def settings(self) -> list[str]:
        """Settings beside the default that a user could choose."""

    def side(self, setting: str) -> Side: ...

    def close(self) -> None: ...


class PlanSide:
    """Ours."""

    setting = DEFAULT

    def __init__(self, communicator: Communicator, place: Place) -> None:
        self.engine = communicator.engine
        self._communicator = communicator
        self._place = place
        self._dtype = "float32"
        self._heads: tuple[Any, Any] = (None, None)

    def call(self, case: Case, role: Role, x: Any, out: Any) -> Call:
        """The collective's own method, with no more arguments than a user would give."""
        self._dtype, self._heads = case.dtype, (None if x is None else x[:0], None if out is None else out[:0])
        kind = role.collective.kind
        sizes = (None if array is None else array.size for array in (x, out))
        options: dict[str, Any] = {}
        if kind.reduces:
            options["op"] = case.op
        if case.dtype == "bfloat16":  # numpy has none
            options["dtype"] = case.dtype
        if kind in _COUNTED and role.count(*sizes) != case.count:
            options["count"] = case.count
        method = getattr(self._communicator, kind.replace("-", "_"))
        return lambda: method(x, out, **options)

    def align(self) -> None:
        """The shm engine lines ranks up in a call without elements; others do not promise to, and have MPI's barrier or
        the benchmark's own."""
        if self.engine == "shm":
            self._communicator.call(*self._heads, dtype=self._dtype, count=0)
        elif self.engine == "mpi":
            from mpi4py import MPI

            MPI.COMM_WORLD.Barrier()
        else:
            self._place.control.barrier()
