"""Exchanges of the mpi engine that end though a rank did not take part, as MPICH's may when it is killed."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from handmade import handmade

from collsched.collective import Kind
from collsched.errors import EngineError
from collsched.runtime import mpi_small
from collsched.runtime.buffers import Buffer
from collsched.runtime.engine import Call
from collsched.runtime.mpi_small import Exchange

RANKS = 3
CALL = Call(100, "float32", "sum")


@dataclass
class Link:
    """Rank 0's view of ranks that all show what it shows, as long as they live."""

    dead: set[int] = field(default_factory=set)
    calls: int = 0
    rank: int = 0
    ranks: int = RANKS
    mpi: Any = field(default_factory=lambda: SimpleNamespace(BYTE=None, INT64_T=None, MAX=None))

    @property
    def comm(self) -> Any:
        return SimpleNamespace(Iallgather=self.gather, Iallreduce=self.reduce)

    def gather(self, mine: Any, everyone: Any) -> None:
        for rank in range(RANKS):
            if rank not in self.dead:
                everyone[0][rank] = mine[0]

    def reduce(self, mine: Any, result: Any, _: Any) -> None:
        if not self.dead:
            result[0][:] = mine[0]

    def explain(self, error: str) -> NoReturn:
        raise EngineError(error)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi_small, "finish", lambda _, start, *arguments: start(*arguments))


def test_what_a_dead_rank_showed_in_the_call_before_is_not_added_up() -> None:
    link = Link()
    exchange = Exchange(handmade(RANKS, Kind.ALLREDUCE, k=2), link)  # type: ignore[arg-type]
    data = np.ones(CALL.count, np.float32)
    shown = Buffer(data, data.ctypes.data, data.size, "float32")
    link.calls = 1
    assert exchange.meet(CALL, shown) == ([CALL], True)
    link.dead, link.calls = {2}, 2  # its place still holds an equal call, and an input
    with pytest.raises(EngineError, match="not all ranks took part"):
        exchange.meet(CALL, shown)


def test_a_comparison_without_a_rank_is_none() -> None:
    link = Link(calls=1)
    exchange = Exchange(handmade(RANKS, Kind.ALLGATHER, k=2), link)  # type: ignore[arg-type]
    assert exchange.meet(CALL, None) == ([CALL], False)
    link.dead, link.calls = {1}, 2
    with pytest.raises(EngineError, match="not all ranks took part"):
        exchange.meet(CALL, None)
