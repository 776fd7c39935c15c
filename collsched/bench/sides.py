"""What is compared: the plan's communicator, and libraries that do the same collective on the same buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from collsched.bench.control import Control
from collsched.bench.sweep import Case
from collsched.collective import Collective
from collsched.runtime.communicator import Communicator
from collsched.runtime.layout import Role

Call = Callable[[], Any]
DEFAULT = "default"


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
        communicator, op, dtype, count = self._communicator, case.op, case.dtype, case.count
        self._dtype, self._heads = dtype, (None if x is None else x[:0], None if out is None else out[:0])
        return lambda: communicator.call(x, out, op=op, dtype=dtype, count=count)

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
