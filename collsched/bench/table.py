"""The tables of a run: the columns of nccl-tests, then all sides with how much their times vary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from collsched.bench.results import Match, Measurement, Score, mean_busbw, scores
from collsched.bench.sweep import per_rank
from collsched.collective import Collective, Kind
from collsched.units import format_bytes

CALLS = {
    ("mpi", Kind.ALLREDUCE): "MPI_Allreduce", ("mpi", Kind.ALLGATHER): "MPI_Allgather",
    ("mpi", Kind.REDUCE_SCATTER): "MPI_Reduce_scatter_block", ("mpi", Kind.BROADCAST): "MPI_Bcast",
    ("mpi", Kind.REDUCE): "MPI_Reduce", ("mpi", Kind.GATHER): "MPI_Gather", ("mpi", Kind.SCATTER): "MPI_Scatter",
    ("mpi", Kind.ALL_TO_ALL): "MPI_Alltoall", ("nccl", Kind.ALLREDUCE): "ncclAllReduce",
    ("nccl", Kind.ALLGATHER): "ncclAllGather", ("nccl", Kind.REDUCE_SCATTER): "ncclReduceScatter",
    ("nccl", Kind.BROADCAST): "ncclBroadcast", ("nccl", Kind.REDUCE): "ncclReduce",
}  # fmt: skip
_PLACES = ("out of place", "in place")


@dataclass(frozen=True)
class Model:
    """What the plan's model says of a size, in seconds, and what no schedule can beat on the plan's fabric."""

    predicted: float
    bound: float


def head(collective: Collective) -> list[str]:
    """The lines above the first table."""
    columns = "".join(f"{name:>9}" for name in ("time", "algbw", "busbw", "#wrong"))
    units = "".join(f"{name:>9}" for name in ("(us)", "(GB/s)", "(GB/s)", ""))
    left = "".join(f"{name:>{width}}" for name, width in zip(_LEFT, _WIDTHS, strict=True))
    left_units = "".join(f"{name:>{width}}" for name, width in zip(("(B)", "(elements)"), _WIDTHS, strict=False))
    blank = " " * (sum(_WIDTHS) - 1)
    return [
        f"#{blank}{'out-of-place':^36}{'in-place':^36}".rstrip(),
        f"#{left[1:]}{columns}{columns}",
        f"#{left_units[1:]:<{sum(_WIDTHS) - 1}}{units}{units}".rstrip(),
    ]


_LEFT, _WIDTHS = ("size", "count", "type", "redop", "root"), (13, 14, 10, 8, 8)


def line(collective: Collective, placements: Sequence[Match]) -> str:
    """The plan at one size, as nccl-tests prints it."""
    case = placements[0].plan.case
    root = -1 if collective.root is None else collective.root
    redop = case.op if collective.kind.reduces else "none"
    left = (case.bytes, per_rank(collective, case.count), case.dtype, redop, root)
    text = "".join(f"{value:>{width}}" for value, width in zip(left, _WIDTHS, strict=True))
    by_place = {match.plan.case.in_place: match.plan for match in placements}
    for in_place in (False, True):
        text += _cells(by_place.get(in_place), float(collective.busbw_factor))
    return text


def _cells(one: Measurement | None, factor: float) -> str:
    if one is None:
        return f"{'-':>9}" * 4
    algbw = one.algbw or 0.0
    wrong = "N/A" if one.wrong is None else str(one.wrong)
    return f"{_us(one.p50):>9}{algbw:>9.2f}{algbw * factor:>9.2f}{wrong:>9}"


def _us(seconds: float) -> str:
    us = seconds * 1e6
    return f"{us:.2f}" if us < 1000 else f"{us:.1f}" if us < 100000 else f"{us:.0f}"


def footer(found: Sequence[Match], collective: Collective) -> list[str]:
    """Below the first table."""
    wrong = [side.wrong for match in found for side in (match.plan, *match.baselines) if side.wrong is not None]
    checked = f"{sum(wrong)} {'OK' if not sum(wrong) else 'FAILED'}" if wrong else "not checked"
    return [
        f"# Out of bounds values : {checked}",
        f"# Avg bus bandwidth    : {mean_busbw(found, float(collective.busbw_factor)):.4g}",
    ]


def comparison(found: Sequence[Match], models: Sequence[Model]) -> Iterator[str]:
    """Every side of every case: microseconds of the slowest rank, and baseline time / plan time."""
    columns = "".join(f"{name:>10}" for name in ("p50", "p95", "min", "max"))
    yield f"#{'size (B)':>12}  {'':12} {'(us)':30}{columns}   ratio"
    for match, model in zip(found, models, strict=True):
        case, place = match.plan.case, _PLACES[match.plan.case.in_place]
        for side in (match.plan, *match.baselines):
            times = "".join(f"{_us(value):>10}" for value in (side.p50, side.p95, side.min, side.max))
            mine = side is match.plan
            name = f"plan ({side.engine})" if mine else f"{side.engine}, {side.setting}"
            note = (
                f"   predicted {_us(model.predicted)}, bound {_us(model.bound)}" if mine else _note(match.ratio(side))
            )
            wrong = f"  {side.wrong:,} ELEMENTS WRONG" if side.wrong else ""
            yield f"{case.bytes:>13}  {place:12} {name:30}{times}{note}{wrong}"


def _note(ratio: float | None) -> str:
    return "" if ratio is None else f"{_ratio(ratio):>8}{'  plan slower' if ratio < 1 else ''}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def verdict(found: Sequence[Match], collective: Collective) -> list[str]:
    """The plan against each library in a sentence, losses first."""
    return [_sentence(score, collective.kind) for score in scores(found)]


def _sentence(score: Score, kind: Kind) -> str:
    name = CALLS.get((score.engine, kind), f"{score.engine}'s {kind}")
    place = _PLACES[score.in_place]
    least, most, mean = (_ratio(value) for value in (min(score.ratios), max(score.ratios), score.mean))
    spread = f"ratio {least} to {most}, geometric mean {mean}"
    if not score.lost:
        return f"faster than {name} {place} at all {score.sizes} sizes; {spread}"
    sizes = ", ".join(map(format_bytes, score.lost))
    if len(score.lost) == score.sizes:
        return f"slower than {name} {place} at all {score.sizes} sizes; {spread}"
    return f"slower than {name} {place} at {len(score.lost)} of {score.sizes} sizes ({sizes}); {spread}"
