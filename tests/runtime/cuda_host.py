"""The kernels of csrc/cuda as ordinary C++: encoded programs of all ranks, every block of every rank as threads of this
process."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from collsched.runtime.dtypes import carrier, dtype_code
from collsched.runtime.encode import Encoded, Memory, Numbers, Shape, board_words, encode, plan_words
from collsched.runtime.engine import RankPlan, Wiring
from collsched.runtime.kernels import FOLD

Array = np.ndarray[Any, Any]
HOST = Path(__file__).parents[2] / "csrc" / "cuda" / "host.cc"
FLAGS = ["-std=c++20", "-pthread", "-fno-strict-aliasing", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "c++"))


def build(target: Path, *extra: str) -> Path:
    found = compiler()
    assert found is not None
    subprocess.run([found, *FLAGS, *extra, "-fPIC", "-shared", str(HOST), "-o", str(target)], check=True)
    return target


@dataclass
class Rank:
    """One rank's memory and program. Arrays are kept here since the structures hold their addresses only."""

    rank_plan: RankPlan
    encoded: Encoded
    memory: Memory
    arena: Array
    board: Array
    mailboxes: Array
    plan: Array


class World:
    """All ranks of a plan in this process. Calls follow each other with flags as the last one left them."""

    def __init__(self, library: ctypes.CDLL, plan: Any, shape: Shape, threads: int = 1, segments: int = 1) -> None:
        self.library, self.shape, self.threads = library, shape, threads
        wiring = Wiring(plan, segments)
        numbers = Numbers.of(plan.topology, wiring.schedule)
        self.divisor = len(plan.collective.group)
        self.ranks = []
        for rank in range(numbers.ranks):
            rank_plan = RankPlan(wiring, rank)
            encoded = encode(rank_plan.program, numbers, rank_plan.role)
            memory = Memory(shape, int(numbers.received[rank]), int(numbers.sent[rank]), encoded.kept)
            arena = aligned(memory.size)
            arena[: memory.flag_bytes] = 0
            arena[memory.flag_bytes :] = 0xA5  # what is read before it is written shows
            board = np.zeros(board_words(shape.stripes), np.uint64)
            self.ranks.append(Rank(rank_plan, encoded, memory, arena, board, np.empty(0), np.empty(0)))
        mailboxes = np.array([rank.memory.mailbox(rank.arena.ctypes.data) for rank in self.ranks], np.uint64)
        for number, rank in enumerate(self.ranks):
            tables = (rank.encoded.steps, rank.encoded.operands, rank.encoded.sends, mailboxes)
            rank.mailboxes = mailboxes
            rank.plan = plan_words(
                shape, number, len(self.ranks), len(rank.encoded.steps), [table.ctypes.data for table in tables],
                rank.memory.epochs(rank.arena.ctypes.data), rank.board.ctypes.data,
            )  # fmt: skip

    def run(
        self,
        calls: Sequence[tuple[Sequence[Array | None], Sequence[Array | None], int]],
        dtype: str,
        op: str,
        limit: float = 20,
        absent: Sequence[int] = (),
        stamps: Sequence[int] | None = None,
    ) -> list[int]:
        """(inputs, outputs, count) of each call, all of one type, reduction and number of stripes. Ranks begin the next
        call when they have done their part of the last one. The verdict of each rank: 0, or why it stopped; 99 << 32
        after `limit` seconds. Ranks that are `absent` do nothing;
        `stamps` tell what each rank called."""
        item, stripes = carrier(dtype).itemsize, 1
        kept: list[Array] = []
        launches: list[list[int]] = []
        for number, rank in enumerate(self.ranks):
            words: list[list[int]] = []
            for inputs, outputs, count in () if number in absent else calls:
                chunks, rounds, stripes = self.shape.place(rank.rank_plan.role, count, item)
                kept.append(chunks)
                x, out = inputs[number], outputs[number]
                words.append(
                    [
                        chunks.ctypes.data, 0 if x is None else x.ctypes.data, 0 if out is None else out.ctypes.data,
                        rounds, (self.divisor if op == "avg" else 1) | (stamps[number] if stamps else 7) << 32,
                    ]
                )  # fmt: skip
            table = np.array(words, np.uint64)
            kept.append(table)
            launches.append([rank.plan.ctypes.data, table.ctypes.data, len(words), stripes, self.threads])
        table = np.array(launches, np.uint64)
        code = ("sum", "prod", "min", "max").index(FOLD[op])
        self.library.collsched_host_execute(
            ctypes.c_void_p(table.ctypes.data), ctypes.c_int64(len(launches)), dtype_code(dtype), code,
            ctypes.c_double(limit), ctypes.c_uint64(99 << 32),
        )  # fmt: skip
        return [int(rank.board[1]) for rank in self.ranks]


def aligned(size: int) -> Array:
    """Bytes that begin at a multiple of 16, as memory of a GPU does."""
    raw = np.empty(size + 16, np.uint8)
    at = -raw.ctypes.data % 16
    return raw[at : at + size]
