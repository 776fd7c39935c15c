"""The host's watch over kernels: who ends them, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from collsched import _engine
from collsched.errors import EngineError
from collsched.runtime import shm
from collsched.runtime.encode import board_words
from collsched.runtime.sharing import Card, blocks
from collsched.runtime.watch import Watch

TOLD = 2 << 32


def new_world() -> _engine.World:
    """Rank 1 of 3."""
    fd = shm.create(3)
    world = _engine.World(fd, 1)
    os.close(fd)
    return world


def until(watch: Watch, seconds: float = 5) -> str:
    end = time.monotonic() + seconds
    while not watch.failure() and time.monotonic() < end:
        time.sleep(0.01)
    return watch.failure()


@pytest.mark.parametrize("replayed", [True, False])
def test_a_piece_that_does_not_come(replayed: bool) -> None:
    """Of a kernel that the host has started, or a graph."""
    world = new_world()
    board = np.zeros(board_words(2), np.uint64)
    watch = Watch(world, 1, board, lambda: not replayed, {}, timeout=0.2)
    time.sleep(0.3)
    assert watch.failure() == ""  # nobody waits, however long the kernel takes
    board[3] = 17 << 16 | 3
    assert until(watch).startswith("rank 1 waited 0 s for rank 2 (block 1, piece 17")
    assert int(board[0]) == TOLD and world.failure() == watch.failure()
    watch.close()


def test_a_process_that_ends() -> None:
    world = new_world()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    board = np.zeros(board_words(1), np.uint64)
    pending = False
    watch = Watch(world, 1, board, lambda: pending, {2: process.pid}, timeout=60)
    process.kill()
    process.communicate()
    time.sleep(0.2)
    assert watch.failure() == ""  # nobody needs it
    pending = True
    assert until(watch) == f"rank 2 (process {process.pid}) has ended; rank 1 was in a call"
    watch.close()


def test_what_others_say() -> None:
    world = new_world()
    board = np.zeros(board_words(1), np.uint64)
    watch = Watch(world, 1, board, lambda: True, {}, timeout=60)
    board[1] = 1 << 32 | 2 << 16 | 1
    assert watch.failure() == "ranks 1 and 2 called different things: other sizes, types or reductions"
    watch.close()
    board[:] = 0
    watch = Watch(world, 1, board, lambda: False, {}, timeout=60)
    world.fail("rank 0 was interrupted")
    assert watch.failure() == "rank 0 was interrupted" and int(board[0]) == TOLD
    watch.close()


def test_blocks_that_ranks_may_start() -> None:
    alone = Card(1, 0, "a", 132)
    assert blocks([alone, Card(2, 0, "b", 264)]) == 32
    assert blocks([alone] * 8) == 16
    assert blocks([Card(1, 0, "a", 132, stripes=100)]) == 100
    for cards, text in [
        ([Card(process, 0, "a", 132, stripes=20) for process in range(8)], "at most 16 a rank"),
        ([Card(process, 0, "a", 4) for process in range(5)], "start fewer ranks a GPU"),
        ([alone, Card(2, 0, "b", 132, stripes=4)], "different stripes, 4 and None"),
        ([Card(1, 0, "a", 132, queues=2)] * 3, "set CUDA_DEVICE_MAX_CONNECTIONS=32"),
        ([alone, Card(2, 0, failure="rank 1 cannot use GPU 0")], "rank 1 cannot use GPU 0"),
    ]:
        with pytest.raises(EngineError, match=text):
            blocks(cards)
