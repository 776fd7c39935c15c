"""What each instruction of a program waits for within its rank, so that the rest may run in any order.

A working buffer holds one version of each chunk at a time. So besides the members of its join, an instruction waits for
those earlier ones of the same chunk that touch it too:

    SEND waits for the RECV before it         it reads what that wrote
    RECV waits for the RECV before it         reductions happen in the order of the program, which fixes their rounding
    RECV waits for the SENDs in between       they must have left before the chunk changes

Every one of these comes earlier in the program, so an executor that keeps the order within each connection cannot
deadlock (`ir.program`), and results are those of executing the program in list order, bit for bit.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from collsched.ir.program import SEND, Program


@dataclass(frozen=True, slots=True)
class Dataflow:
    """`waits[i]`: for how many instructions i waits; `then[i]`: those that wait for it."""

    waits: list[int]
    then: list[list[int]]

    @classmethod
    def of(cls, program: Program) -> Dataflow:
        """O(instructions + members of their joins)."""
        opcode, chunk, join = program.opcode.tolist(), program.chunk.tolist(), program.join.tolist()
        ptr, member = program.joins.ptr.tolist(), program.joins.member.tolist()
        written: dict[int, int] = {}  # the last RECV of each chunk
        read: defaultdict[int, list[int]] = defaultdict(list)  # the SENDs since
        flow = cls([0] * len(program), [[] for _ in range(len(program))])
        for i, c in enumerate(chunk):
            before = set(member[ptr[join[i]] : ptr[join[i] + 1]])
            if c in written:
                before.add(written[c])
            if opcode[i] == SEND:
                read[c].append(i)
            else:
                before.update(read.pop(c, ()))
                written[c] = i
            flow.waits[i] = len(before)
            for j in before:
                flow.then[j].append(i)
        return flow
