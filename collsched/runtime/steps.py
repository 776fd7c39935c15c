"""One rank's program as steps, each of which makes one version of one chunk: for engines that fuse work.

    RECV_REDUCE c ◀ 1 ┐
    RECV_REDUCE c ◀ 2 ├─▶  step: version 1 of c = version 0 + that of rank 1 + that of rank 2, then on to 3 and 4
    SEND c ▶ 3        │
    SEND c ▶ 4        ┘

Version 0 of a chunk is what the rank gives. A step takes all RECVs of a chunk up to its next SEND in the order of the
program, so an element is loaded and stored once however many are added to it, in the interpreter's order.

Steps come in ascending order of the last RECV that they take in; those without one come first. In this order every
rank can execute its steps one after the other: see "Progress" in csrc/cuda/execute.h. Joins need no attention: whatever
a transfer needs is an earlier version of its own chunk (`ir.program`), and a step waits for that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collsched.errors import EngineError
from collsched.ir.program import RECV_COPY, RECV_REDUCE, SEND, Program

Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Step:
    """One version of `chunk`: the version before, if `adds`, then the data of all `operands`, combined in this order.

    `previous`: the position of the step that made the version before; None: none did, it is version 0. `last`: no later
    step makes another version. `operands` and `sends` are positions of instructions in the program.
    """

    chunk: int
    previous: int | None = None
    adds: bool = False
    last: bool = True
    operands: list[int] = field(default_factory=list)
    sends: list[int] = field(default_factory=list)

    @property
    def key(self) -> int:
        return self.operands[-1] if self.operands else -1


def steps(program: Program, gives: Bools, gets: Bools) -> list[Step]:
    """The steps of a program of a rank that gives and gets these chunks.

    Where a rank gets a chunk that nobody sends it, and nobody asks it for, there is a step too: a copy. Raises
    EngineError for a program that sends or adds to what it does not have.
    """
    made: list[Step] = []
    current: dict[int, int] = {}  # of each chunk the step that made its version
    for i, (opcode, chunk) in enumerate(zip(program.opcode.tolist(), program.chunk.tolist(), strict=True)):
        at = current.get(chunk)
        if opcode == SEND and at is not None:
            made[at].sends.append(i)
        elif opcode == RECV_REDUCE and at is not None and made[at].operands and not made[at].sends:
            made[at].operands.append(i)
        else:
            if opcode != RECV_COPY and at is None and not gives[chunk]:
                raise EngineError(
                    f"rank {program.rank} sends or adds to chunk {chunk} before it has it; verify the plan"
                )
            _new_step(made, current, i, opcode, chunk)
    alone = np.flatnonzero(gives & gets).tolist()
    made += [Step(chunk) for chunk in alone if chunk not in current]
    return _ordered(made)


def _new_step(made: list[Step], current: dict[int, int], i: int, opcode: int, chunk: int) -> None:
    before = current.get(chunk)
    step = Step(chunk, before, adds=opcode == RECV_REDUCE)
    (step.sends if opcode == SEND else step.operands).append(i)
    if before is not None:
        made[before].last = False
    current[chunk] = len(made)
    made.append(step)


def _ordered(made: list[Step]) -> list[Step]:
    order = sorted(range(len(made)), key=lambda i: made[i].key)
    place = {old: new for new, old in enumerate(order)}
    for step in made:
        step.previous = None if step.previous is None else place[step.previous]
    return [made[i] for i in order]
