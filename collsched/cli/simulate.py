"""`collsched simulate`: predicted times of a plan, beside what libraries would do, on one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from collsched.cli import _common as common

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from collsched.choice import Entrant, Timed
    from collsched.ir.schedule import Schedule
    from collsched.ir.traffic import TierTraffic
    from collsched.plan import Plan
    from collsched.simulate import Model
    from collsched.topology.model import Topology

STEP = 4  # from one size to the next
MOST_TRANSFERS = 1 << 22  # of a variant that is tried
PLAN = "plan"
TIE = 0.005  # of a time: what is not called faster


@click.command("simulate", short_help="Predicted times of a plan and of the usual algorithms.")
@click.argument("plan_path", metavar="PLAN")
@click.option(
    "--size",
    default="1KiB:1GiB",
    show_default=True,
    metavar="BYTES[:BYTES]",
    help=f"One size, or the first and the last of several, each {STEP} times the one before.",
)
@click.option("--cost", default="1us", show_default=True, metavar="TIME", help="For which a transfer keeps its sender.")
@click.option("--store-and-forward", is_flag=True, help="Switches pass on whole transfers, instead of cutting through.")
@common.json_option
def simulate_command(plan_path: str, size: str, cost: str, store_and_forward: bool, as_json: bool) -> None:
    """Predicted times of PLAN, and of the algorithms that libraries use, where they apply.

    All run on one simulator (docs/simulator.md): latencies and bandwidths of the plan's topology, shared max-min
    fairly, and a fixed cost a transfer. Each gets the number of pipeline segments with which it is fastest at the size.

    \b
    collsched simulate plan.cs
    collsched simulate plan.cs --size 1MiB:64MiB --cost 2us
    """
    from collsched.plan import Plan
    from collsched.simulate import Model
    from collsched.units import parse_latency

    sizes = _sizes(size)
    model = Model(parse_latency(cost), store_and_forward)
    with common.progress() as progress:
        progress("reading the plan")
        plan = Plan.load(plan_path)
        progress("verifying")
        _ = plan.report
        progress("building the usual algorithms")
        rivals = contests(plan, model)
        rows = []
        for name, contestants in rivals.items():
            for nbytes in sizes:
                progress(f"simulating {name}")
                rows.append(_row(plan, name, contestants, nbytes))
    if as_json:
        common.print_json(_as_json(plan_path, plan, model, rows))
    else:
        _show(plan, model, sizes, list(rivals), rows)


def _sizes(text: str) -> list[int]:
    """`64KiB`, or `1KiB:1GiB`: both ends, and between them steps by `STEP`."""
    from collsched.errors import InputError
    from collsched.units import parse_size

    first, colon, last = text.partition(":")
    low = parse_size(first)
    high = parse_size(last) if colon else low
    if not 0 < low <= high:
        raise InputError(f"--size {text!r}; allowed is a size above 0, or two in ascending order, such as 1KiB:1GiB")
    sizes = [low]
    while sizes[-1] < high:
        sizes.append(min(sizes[-1] * STEP, high))
    return sizes


def contests(plan: Plan, model: Model) -> dict[str, list[Entrant]]:
    """Name → variants, of which the fastest counts. Every schedule is verified. Variants of too many transfers are left
    out, such as eight rings on a thousand ranks."""
    from collsched.algorithms import baselines
    from collsched.choice import Contestant
    from collsched.ir.verify import verify
    from collsched.lower import lower
    from collsched.passes.fuse import Fuse

    found: dict[str, list[Entrant]] = {PLAN: [_Ranges(plan, model)]}
    if not plan.ranges:
        found = {PLAN: [Contestant(plan.topology, plan.schedule(), model)]}
    for baseline in baselines(plan.topology, plan.collective):
        if baseline.transfers > MOST_TRANSFERS:
            continue
        schedule = lower(plan.topology, baseline.collective, baseline.forests)
        if baseline.fused:
            schedule = Fuse()(schedule)
        verify(plan.topology, schedule)
        found.setdefault(baseline.name, []).append(Contestant(plan.topology, schedule, model, baseline.fused))
    return found


@dataclass(frozen=True, slots=True)
class _Ranges:
    """A plan that has chosen what runs at each size."""

    plan: Plan
    model: Model

    def at(self, nbytes: int) -> Timed:
        from collsched.choice import Timed
        from collsched.simulate import Simulation

        simulation = Simulation(self.plan.topology, self.plan.shaped(nbytes), self.model)
        return Timed(nbytes, simulation.seconds(nbytes), self.plan.at(nbytes).shape)

    def scheduled(self, nbytes: int) -> Schedule:
        return self.plan.at(nbytes).schedule()


@dataclass(frozen=True, slots=True)
class _Row:
    """One algorithm at one size, run as `entrant`, on the `plan`'s topology."""

    plan: Plan
    algorithm: str
    entrant: Entrant
    timed: Timed

    @property
    def algbw(self) -> float | None:
        return self.timed.nbytes / self.timed.seconds / 1e9 if self.timed.seconds else None

    @property
    def busbw(self) -> float | None:
        return None if self.algbw is None else self.algbw * float(self.plan.collective.busbw_factor)

    def tiers(self) -> list[TierTraffic]:
        """What it moves, over the slowest links first."""
        from collsched.ir.traffic import traffic

        return traffic(self.plan.topology, self.entrant.scheduled(self.timed.nbytes), self.timed.nbytes)


def _row(plan: Plan, name: str, contestants: Sequence[Entrant], nbytes: int) -> _Row:
    from collsched.choice import fastest

    return _Row(plan, name, *fastest(contestants, nbytes))


def _as_json(path: str, plan: Plan, model: Model, rows: Sequence[_Row]) -> dict[str, Any]:
    return {
        "plan": path,
        "digest": plan.digest,
        "ranks": len(plan.collective.group),
        "collective": str(plan.collective.kind),
        "model": {
            "alpha_us": [common.number(alpha) for alpha in _alphas(plan.topology)],
            "transfer_cost_us": common.number(model.cost),
            "store_and_forward": model.store_and_forward,
        },
        "rows": [
            {
                "bytes": row.timed.nbytes,
                "algorithm": row.algorithm,
                "seconds": row.timed.seconds,
                "algbw_GBps": row.algbw,
                "busbw_GBps": row.busbw,
                "segments": row.timed.segments,
                "pacing": row.timed.shape.pacing,
                "tiers": [
                    {
                        "bandwidth_GBps": common.number(tier.bandwidth),
                        "links": tier.links,
                        "bytes": tier.crossing,
                        "fullest_link_bytes": tier.fullest,
                    }
                    for tier in row.tiers()
                ],
            }
            for row in rows
        ],
        "fastest": [{"algorithm": name, "from_bytes": first, "to_bytes": last} for name, first, last in _fastest(rows)],
    }


def _fastest(rows: Sequence[_Row]) -> list[tuple[str, int, int]]:
    """Which algorithm is fastest from which size to which, of the sizes simulated; of those within `TIE`, the first."""
    best: dict[int, _Row] = {}
    for row in rows:
        known = best.get(row.timed.nbytes)
        if known is None or row.timed.seconds < known.timed.seconds * (1 - TIE):
            best[row.timed.nbytes] = row
    runs = groupby(sorted(best.items()), key=lambda item: item[1].algorithm)
    sizes = [(name, [nbytes for nbytes, _ in run]) for name, run in runs]
    return [(name, run[0], run[-1]) for name, run in sizes]


def _alphas(topology: Topology) -> list[Fraction]:
    """The latencies of links that occur, in µs."""
    return sorted({link.alpha for link in topology.links})


def _show(plan: Plan, model: Model, sizes: Sequence[int], names: Sequence[str], rows: Sequence[_Row]) -> None:
    from rich.text import Text

    from collsched.cli import _views as views
    from collsched.cli._limits import describe
    from collsched.cli._ranges import show_ranges
    from collsched.collective import Kind
    from collsched.simulate import Model
    from collsched.units import exact, format_bytes, format_seconds

    console = common.console()
    views.show_fabric(console, plan.topology)
    views.row(console, "collective", describe(plan.topology, plan.collective))
    alphas = _alphas(plan.topology)
    links = exact(alphas[0]) if len(alphas) == 1 else f"{exact(alphas[0])} to {exact(alphas[-1])}" if alphas else "0"
    through = "store-and-forward" if model.store_and_forward else "cut-through"
    views.row(console, "model", f"α {links} µs a link, {exact(model.cost)} µs a transfer, {through} switches")
    table = _table("bytes", *names, "GB/s")
    times = {(row.timed.nbytes, row.algorithm): row for row in rows}
    for nbytes in sizes:
        best = min(times[nbytes, name].timed.seconds for name in names)
        seconds = [times[nbytes, name].timed.seconds for name in names]
        cells = [Text(format_seconds(value), style="bold" if value == best else "") for value in seconds]
        table.add_row(format_bytes(nbytes), *cells, _rate(times[nbytes, PLAN].algbw))
    console.print(table)
    console.print("simulated times, each at its best number of segments; GB/s: algbw of the plan")
    if len(names) > 1 and len(sizes) > 1:
        console.print(f"fastest: {_crossovers(_fastest(rows))}")
    # The choice of --objective auto is made on the usual model, and has no other algorithms for an all-to-all.
    choice = model == Model() and plan.collective.kind is not Kind.ALL_TO_ALL
    if choice and not plan.ranges and any(name != PLAN for name, _, _ in _fastest(rows)):
        console.print("this plan is for throughput alone; compile --objective auto chooses the fastest at every size")
    _show_tiers(console, [times[sizes[-1], name] for name in names])
    show_ranges(console, plan)


def _show_tiers(console: Console, rows: Sequence[_Row]) -> None:
    """What each algorithm moves over links of each bandwidth."""
    from collsched.units import exact, format_bytes

    moved = [row.tiers() for row in rows]
    if len(moved[0]) < 2:
        return
    table = _table("links of", *(row.algorithm for row in rows))
    for tiers in zip(*moved, strict=True):
        table.add_row(f"{exact(tiers[0].bandwidth)} GB/s", *(format_bytes(tier.crossing) for tier in tiers))
    console.print(table)
    console.print(f"moved for {format_bytes(rows[0].timed.nbytes)}, each transfer at the slowest link on its way")


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name.replace("-", "\n", 1), justify="right", no_wrap=True)
    return table


def _crossovers(fastest: Sequence[tuple[str, int, int]]) -> str:
    """`hierarchical up to 4 MiB, plan from 16 MiB`."""
    from collsched.units import format_bytes

    if len(fastest) == 1:
        return f"{fastest[0][0]} at every size"
    texts = []
    for number, (name, first, last) in enumerate(fastest):
        if number == 0:
            texts.append(f"{name} up to {format_bytes(last)}")
        elif number == len(fastest) - 1:
            texts.append(f"{name} from {format_bytes(first)}")
        else:
            at = f"from {format_bytes(first)} to {format_bytes(last)}" if first < last else f"at {format_bytes(first)}"
            texts.append(f"{name} {at}")
    return ", ".join(texts)


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
