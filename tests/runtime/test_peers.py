"""Ranks that something else launched find each other."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import handmade
from ranks import on_processes

from collsched.errors import EngineError, InputError, MissingComponentError
from collsched.runtime import launchers, peers, shm
from collsched.runtime.launchers import Peers, of_store


class Store:
    """What `of_store` uses of torch's stores."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.changed = threading.Condition()

    def set(self, key: str, value: bytes) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def get(self, key: str) -> bytes:
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.values, timeout=20)
            return self.values[key]

    def delete_key(self, key: str) -> None:
        with self.changed:
            del self.values[key]


def through_files(folder: str, rank: int, ranks: int) -> Peers:
    """Peers of processes that share a folder."""
    rounds = 0

    def exchange(data: bytes) -> list[bytes]:
        nonlocal rounds
        mine = Path(folder, f"{rounds}-{rank}")
        mine.with_suffix(".new").write_bytes(data)
        mine.with_suffix(".new").rename(mine)
        found = []
        for peer in range(ranks):
            theirs = Path(folder, f"{rounds}-{peer}")
            while not theirs.exists():
                time.sleep(0.001)
            found.append(theirs.read_bytes())
        rounds += 1
        return found

    return Peers(rank, ranks, exchange, "the test")


def test_a_store_exchanges_bytes_and_keeps_little() -> None:
    store, results = Store(), [[b""]] * 3

    def rank(number: int) -> None:
        exchange = of_store(store, number, 3).exchange
        results[number] = [part for turn in range(20) for part in exchange(b"%d of %d" % (number, turn))]

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[b"%d of %d" % (number, turn) for turn in range(20) for number in range(3)]] * 3
    assert len(store.values) <= 3


def test_ranks_meet_and_call_in_two_worlds_at_once(tmp_path: Path) -> None:
    plan, pair = handmade(4, "allreduce"), handmade(2, "allreduce")

    def body(rank: int) -> Any:
        everyone = shm.meet(through_files(str(tmp_path), rank, 4))
        folder = tmp_path / f"pair{rank // 2}"
        folder.mkdir(exist_ok=True)
        two = shm.meet(through_files(str(folder), rank % 2, 2))
        sums = []
        with shm.connect(plan, process=everyone) as all_ranks, shm.connect(pair, process=two) as neighbours:
            for communicator in (all_ranks, neighbours, all_ranks):
                x = np.full(1009, rank, np.int32)
                communicator.allreduce(x)
                assert (x == x[0]).all()
                sums.append(int(x[0]))
        return sums

    assert on_processes(4, body) == [[6, 1 if rank < 2 else 5, 6] for rank in range(4)]


def test_ranks_of_several_machines_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def body(rank: int) -> Any:
        if rank == 2:
            monkeypatch.setattr(shm, "machine", lambda: "elsewhere")
        with pytest.raises(InputError) as error:
            shm.meet(through_files(str(tmp_path), rank, 3))
        return str(error.value)

    assert all(text.startswith("ranks 0 and 2 are on different machines") for text in on_processes(3, body))


def test_a_rank_that_cannot_open_the_memory_tells_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def body(rank: int) -> Any:
        if rank == 1:
            monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError("no")))
        with pytest.raises(EngineError) as error:
            shm.meet(through_files(str(tmp_path), rank, 3))
        return str(error.value)

    assert on_processes(3, body) == ["rank 1 cannot open the shared memory of rank 0: no"] * 3


def test_a_first_rank_without_memory_tells_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(ranks: int) -> int:
        raise EngineError("cannot reserve memory")

    def body(rank: int) -> Any:
        monkeypatch.setattr(shm, "create", full)
        with pytest.raises(EngineError) as error:
            shm.meet(through_files(str(tmp_path), rank, 3))
        return str(error.value)

    assert on_processes(3, body) == ["rank 0: cannot reserve memory"] * 3


def test_the_ranks_of_a_launch_are_peers() -> None:
    def body(rank: int) -> Any:
        found = peers.find()
        assert found is not None
        return [found.rank, found.ranks, found.launcher, [data.decode() for data in found.exchange(b"%d" % rank)]]

    assert on_processes(3, body) == [[rank, 3, "collsched launch", ["0", "1", "2"]] for rank in range(3)]


@pytest.mark.parametrize("names", [("OMPI_COMM_WORLD_RANK",), ("PMI_RANK",), launchers._TORCHRUN])
def test_a_missing_library_of_the_launcher_is_named(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    import sys

    for name in names:
        monkeypatch.setenv(name, "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setitem(sys.modules, "torch.distributed", None)
    launchers.foreign.cache_clear()
    with pytest.raises(MissingComponentError, match=r"pip install (mpi4py|torch)"):
        peers.find()
    assert launchers.foreign.cache_info().currsize == 0


def test_a_wrong_number_of_torchrun_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in launchers._TORCHRUN:
        monkeypatch.setenv(name, "many")
    launchers.foreign.cache_clear()
    with pytest.raises(InputError, match="RANK='many': expected a number"):
        peers.find()
