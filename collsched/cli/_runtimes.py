"""Exports that a GPU runtime or a simulator reads: decide, spell, write beside, read back, and only then let appear."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collsched.errors import InputError, VerificationError

if TYPE_CHECKING:
    from collsched.ir.operations import OperationProgram
    from collsched.ir.placement import Placement
    from collsched.ir.schedule import Schedule
    from collsched.plan import Plan

MOST_MOVES = 20_000  # of an execution plan whose segments are chosen here
TRACE = "trace"  # files of a Chakra export are trace.0.et, trace.1.et, …


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for. None: as the format has it."""

    size: int
    segments: int | None
    force: bool
    in_place: bool = False
    profile: str = "executor"
    protocol: str = "Simple"
    channels: int = 1
    blocks: int = 16
    sizes: tuple[int, int] | None = None
    label: str | None = None


Summary = dict[str, Any]
Progress = Callable[[str], None]


def export_msccl_xml(plan: Plan, path: Path, wish: Wish, progress: Progress) -> Summary:
    """One XML file. Chunks stay whole unless segments are asked for: the interpreter pipelines slices of them."""
    from collsched.export.check.msccl import check_msccl
    from collsched.export.msccl_xml import NO_LIMIT, xml
    from collsched.files import whole_file
    from collsched.ir.blocks import LOADERS
    from collsched.passes.thread_blocks import ThreadBlocks

    segments = wish.segments or 1
    schedule, placement = _placed(plan, segments, wish)
    progress("packing thread blocks")
    loader = LOADERS[wish.profile]
    program = ThreadBlocks(loader, wish.channels)(placement)
    with whole_file(path, force=wish.force) as beside:
        sizes = wish.sizes or (0, NO_LIMIT)
        beside.write_text("".join(xml(program, loader, _label(plan, wish), wish.protocol, sizes)), encoding="ascii")
        progress("reading back")
        moved = check_msccl(
            beside.read_text(encoding="ascii"),
            wish.profile,
            ranks=placement.ranks,
            kind=placement.kind,
            root=placement.root,
        )
        _compare(plan, schedule, moved, Fraction(1, placement.units))
    return {
        **_summary(path, placement, wish, segments),
        "count_multiple": placement.units,
        "profile": wish.profile,
        "protocol": wish.protocol,
        "channels": program.channels,
        "blocks": max(len(blocks) for blocks in program.blocks),
        "steps": max((len(block.steps) for blocks in program.blocks for block in blocks), default=0),
    }


def export_mscclpp_json(plan: Plan, path: Path, wish: Wish, progress: Progress) -> Summary:
    """One JSON file; with as many of the plan's segments as fit the executor, unless a number is asked for."""
    from collsched.export.check.mscclpp import check_mscclpp
    from collsched.export.mscclpp_json import ALIGNMENT, MOST_BYTES, plan_json
    from collsched.files import whole_file

    segments, schedule, program = _operations(plan, wish, progress)
    placement = program.placement
    with whole_file(path, force=wish.force) as beside:
        text = plan_json(program, _label(plan, wish), wish.sizes or (0, MOST_BYTES))
        beside.write_text("".join(text), encoding="ascii")
        progress("reading back")
        moved = check_mscclpp(
            beside.read_text(encoding="ascii"),
            ranks=placement.ranks,
            kind=placement.kind,
            root=placement.root,
            in_place=wish.in_place,
        )
        _compare(plan, schedule, moved, Fraction(1, placement.units))
    return {
        **_summary(path, placement, wish, segments),
        "byte_multiple": ALIGNMENT * placement.units,
        "blocks": max(len(blocks) for blocks in program.blocks),
        "operations": max((len(block.operations) for blocks in program.blocks for block in blocks), default=0),
        "scratch": float(Fraction(max(program.scratch), placement.units)),
    }


def export_chakra(plan: Plan, path: Path, wish: Wish, progress: Progress) -> Summary:
    """A directory with one trace a rank."""
    from collsched.export.chakra import traces
    from collsched.export.check.chakra import check_chakra
    from collsched.files import whole_directory

    segments = wish.segments or plan.segments
    schedule = _verified(plan, segments)
    with whole_directory(path, force=wish.force) as beside:
        names = []
        for rank, trace in enumerate(traces(plan.topology, schedule, wish.size)):
            names.append(f"{TRACE}.{rank}.et")
            (beside / names[-1]).write_bytes(trace)
        progress("reading back")
        check_chakra([(beside / name).read_bytes() for name in names], plan.collective, wish.size)
    moved = len(schedule.transfers.chunk)
    return {"files": [str(path / name) for name in names], "bytes": wish.size, "segments": segments, "transfers": moved}


def _operations(plan: Plan, wish: Wish, progress: Progress) -> tuple[int, Schedule, OperationProgram]:
    """The program with the most segments, by halves, that fits; the last one tried where none does."""
    from collsched.passes.remote_operations import RemoteOperations, fits

    host = [plan.topology.nodes[plan.topology.ranks[rank]].host for rank in plan.collective.group]
    turn = RemoteOperations(host, wish.blocks)
    segments = wish.segments or _most_segments(plan)
    while True:
        schedule, placement = _placed(plan, segments, wish)
        progress(f"packing thread blocks, {segments} segments")
        program = turn(placement)
        if wish.segments or segments == 1 or fits(program, turn.limits):
            return segments, schedule, program
        segments //= 2


def _most_segments(plan: Plan) -> int:
    pieces = 1
    while pieces * 2 <= plan.segments and pieces * 2 * plan.report.schedule.transfers <= MOST_MOVES:
        pieces *= 2
    return pieces


def _verified(plan: Plan, segments: int) -> Schedule:
    from collsched.ir.verify import verify

    schedule = plan.schedule(segments)
    verify(plan.topology, schedule)
    if switches := schedule.routes.switches(plan.topology):
        name = plan.topology.nodes[switches[0]].name
        raise InputError(
            f"the plan needs switches that copy or sum data, such as {name}; the format moves data between ranks only: "
            "compile with --in-network off, or export --to transfers"
        )
    return schedule


def _placed(plan: Plan, segments: int, wish: Wish) -> tuple[Schedule, Placement]:
    from collsched.lower.buffers import place

    schedule = _verified(plan, segments)
    return schedule, place(plan.topology, schedule, in_place=wish.in_place)


def _compare(plan: Plan, schedule: Schedule, moved: Mapping[tuple[int, int], int], unit: Fraction) -> None:
    """What the file moves between two ranks is what the schedule moves: the plan's bandwidth is kept."""
    from collsched.lower.buffers import rows

    chunks, collective = schedule.chunks, schedule.collective
    part = [
        Fraction(int(length) * collective.shards[shard], int(denominator) * collective.weight)
        for shard, length, denominator in zip(chunks.shard, chunks.length, chunks.denominator, strict=True)
    ]
    member = {rank: i for i, rank in enumerate(collective.group)}
    expected: dict[tuple[int, int], Fraction] = defaultdict(Fraction)
    for chunk, count in Counter((row[1], row[2], row[0]) for row in rows(plan.topology, schedule)).items():
        expected[member[chunk[0]], member[chunk[1]]] += count * part[chunk[2]]
    found = {pair: units * unit for pair, units in moved.items()}
    if found != expected:
        pair = next(pair for pair in expected.keys() | found.keys() if expected.get(pair) != found.get(pair))
        raise VerificationError(
            f"the file moves {found.get(pair, 0)} of a buffer from rank {pair[0]} to rank {pair[1]}, "
            f"the plan {expected.get(pair, 0)}"
        )


def _summary(path: Path, placement: Placement, wish: Wish, segments: int) -> Summary:
    return {
        "files": [str(path)],
        "bytes": wish.size,
        "segments": segments,
        "transfers": len(placement.moves),
        "in_place": placement.in_place,
        "units": placement.units,
    }


def _label(plan: Plan, wish: Wish) -> str:
    """The name in the file."""
    if wish.label is None:
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{plan.collective.kind}-{plan.topology.name}")[:63]
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", wish.label):
        raise InputError(f"--name {wish.label!r}; 1 to 63 letters, digits, dots, dashes and underscores")
    return wish.label
