"""Schedules and programs as text: for people, goldens and bug reports."""

from __future__ import annotations

from collections.abc import Iterator

from collsched.collective import Kind
from collsched.ir.program import RECV_COPY, RECV_REDUCE, SEND, Program
from collsched.ir.schedule import REDUCE, Joins, Schedule
from collsched.topology.model import Topology

_WORDS = {SEND: "send", RECV_COPY: "recv copy", RECV_REDUCE: "recv reduce"}


def schedule_text(topology: Topology, schedule: Schedule) -> str:
    """One line a chunk, then one line a transfer.

    c0 = a [0, 1) / 2
    t4: c0 a → sw → b copy after t1 t2
    """
    return "\n".join([*_chunk_lines(topology, schedule), *_transfer_lines(topology, schedule)]) + "\n"


def _chunk_lines(topology: Topology, schedule: Schedule) -> Iterator[str]:
    chunks = schedule.chunks
    for i, shard in enumerate(chunks.shard.tolist()):
        owner = topology.nodes[topology.ranks[schedule.collective.owners[shard]]].name
        if schedule.collective.kind is Kind.ALL_TO_ALL:
            owner += f" for {topology.nodes[topology.ranks[schedule.collective.target(shard)]].name}"
        begin, end = int(chunks.offset[i]), int(chunks.offset[i] + chunks.length[i])
        yield f"c{i} = {owner} [{begin}, {end}) / {chunks.denominator[i]}"


def _transfer_lines(topology: Topology, schedule: Schedule) -> Iterator[str]:
    transfers, routes = schedule.transfers, schedule.routes
    for i, (chunk, route, op) in enumerate(zip(transfers.chunk, transfers.route, transfers.op, strict=True)):
        links = [topology.links[link] for link in routes.links[routes.ptr[route] : routes.ptr[route + 1]]]
        path = " → ".join(topology.nodes[node].name for node in (links[0].src, *(link.dst for link in links)))
        after = _members(schedule.joins, int(transfers.join[i]), "t")
        lane = f" channel {transfers.channel[i]}" if transfers.channel[i] else ""
        yield f"t{i}: c{chunk} {path} {'reduce' if op == REDUCE else 'copy'}{after}{lane}"


def program_text(topology: Topology, program: Program) -> str:
    """One line an instruction.

    gpu1
    0: recv copy c0 from gpu0
    1: send c0 to gpu2 after 0
    """
    names = [topology.nodes[node].name for node in topology.ranks]
    lines = [names[program.rank]]
    for i, opcode in enumerate(program.opcode.tolist()):
        way = "to" if opcode == SEND else "from"
        after = _members(program.joins, int(program.join[i]), "")
        lines.append(f"{i}: {_WORDS[opcode]} c{program.chunk[i]} {way} {names[program.peer[i]]}{after}")
    return "\n".join(lines) + "\n"


def _members(joins: Joins, join: int, prefix: str) -> str:
    members = " ".join(f"{prefix}{m}" for m in joins.member[joins.ptr[join] : joins.ptr[join + 1]])
    return f" after {members}" if members else ""
