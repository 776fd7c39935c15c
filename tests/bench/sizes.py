"""Every size on many fabrics: the plan of `--objective auto` against the usual algorithms and the bound, simulated.

    python tests/bench/sizes.py                      # the table of docs/sizes.md, in an hour or so
    python tests/bench/sizes.py -c allgather "two DGX A100" "4 × 4 torus"

All times are simulated (docs/simulator.md). The usual algorithms have their best number of segments, the plan its best
shape too. Exit status 1 if the plan is slower than one of them anywhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import collsched
from collsched.algorithms import baselines
from collsched.choice import Contestant
from collsched.collective import make_collective
from collsched.contest import MOST_EDGES
from collsched.forest.bounds import allreduce_bound
from collsched.forest.joint import ways
from collsched.forest.optimum import optimum
from collsched.forest.problem import directions, problem
from collsched.lower import lower
from collsched.topology.library import bundled
from collsched.topology.model import Topology
from collsched.units import format_bytes, format_seconds, parse_size

FABRICS: dict[str, tuple[str, dict[str, object]]] = {
    "two DGX A100": ("dgx-a100", {"boxes": 2}),
    "two MI250 boxes": ("mi250", {"boxes": 2}),
    "four MI250 boxes": ("mi250", {"boxes": 4}),
    "one degraded NIC": ("degraded", {"boxes": 2}),
    "boxes of 8 + 4": ("unequal-boxes", {"boxes": 2}),
    "4 × 4 torus": ("torus-2d", {"dims": "4x4"}),
    "leaf–spine 2:1": ("leaf-spine", {"boxes": 8}),
    "mixed vendors": ("mixed-vendors", {"boxes": 2}),
    "64 ranks": ("dgx-a100", {"boxes": 8}),
    "1,024 ranks": ("dgx-a100", {"boxes": 128}),
}
COLLECTIVES = ("allgather", "reduce-scatter", "allreduce")
SIZES = tuple(1 << bits for bits in (10, 16, 20, 24, 28, 30))
GB = 10**9


@dataclass(frozen=True)
class Row:
    nbytes: int
    bound: float
    trees: float  # what the best trees reach, an allreduce's both phases at once
    plan: float
    chosen: str
    rivals: dict[str, float]

    @property
    def best(self) -> tuple[str, float]:
        return min(self.rivals.items(), key=lambda item: item[1])


def measure(topology: Topology, kind: str, sizes: Sequence[int]) -> Iterator[Row]:
    """One row a size."""
    plan = collsched.compile(topology, kind, objective="auto", sizes=sizes, size=sizes[-1])
    bound, trees = limits(topology, kind)
    rivals: dict[str, list[Contestant]] = {}
    for rival in baselines(topology, make_collective(topology, kind)):
        if rival.transfers <= MOST_EDGES:
            contestant = Contestant(topology, lower(topology, rival.collective, rival.forests))
            rivals.setdefault(rival.name, []).append(contestant)
    for nbytes in sizes:
        best: dict[str, float] = {}
        for name, contestants in rivals.items():
            for contestant in contestants:  # a variant that cannot beat the others of its name is not simulated
                if contestant.least(nbytes) < best.get(name, float("inf")):
                    best[name] = min(best.get(name, float("inf")), contestant.at(nbytes).seconds)
        options = plan.at(nbytes).options
        seconds = plan.predict(nbytes).seconds
        yield Row(nbytes, bound * nbytes, trees * nbytes, seconds, str(options["algorithm"]), best)


def limits(topology: Topology, kind: str) -> tuple[float, float]:
    """Seconds a byte that no schedule can beat, and that the best trees take at least."""
    collective = make_collective(topology, kind)
    phases = [optimum(problem(topology, collective, reverse=reverse)) for reverse in directions(collective.kind)]
    if kind != "allreduce":
        seconds = float(phases[0].ratio) / (collective.weight * GB)
        return seconds, seconds
    bound = allreduce_bound(topology, collective)
    rate = ways(topology, collective, phases, bound).rate
    assert rate is not None
    return float(bound.ratio) / (collective.weight * GB), 1 / (float(rate) * GB)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fabrics", nargs="*", metavar="FABRIC", help=f"of {', '.join(map(repr, FABRICS))}; all of them")
    parser.add_argument("-c", "--collective", choices=COLLECTIVES, action="append")
    parser.add_argument("-s", "--size", action="append", help="such as 1GiB; 1 KiB to 1 GiB")
    arguments = parser.parse_args()
    sizes = sorted(map(parse_size, arguments.size)) if arguments.size else SIZES
    unknown = [name for name in arguments.fabrics if name not in FABRICS]
    if unknown:
        parser.error(f"no fabric {unknown[0]!r}; one of {', '.join(map(repr, FABRICS))}")
    slower = 0
    for name in arguments.fabrics or FABRICS:
        topology = bundled(FABRICS[name][0], **FABRICS[name][1])
        for kind in arguments.collective or COLLECTIVES:
            start = time.process_time()
            rows = list(measure(topology, kind, sizes))
            slower += sum(row.plan > row.best[1] * (1 + 1e-9) for row in rows)
            print(f"\n### {name}, {kind}\n")
            show(rows, kind == "allreduce")
            print(f"{name}, {kind}: {time.process_time() - start:.0f} s of CPU", file=sys.stderr, flush=True)
    print(f"\nslower than a usual algorithm: {slower}", file=sys.stderr)
    return 1 if slower else 0


def show(rows: list[Row], trees: bool) -> None:
    """With a column for what `trees` reach."""
    names = list(rows[0].rivals)
    columns = ["bytes", "bound", *["best trees"] * trees, "plan", "× bound", *["× trees"] * trees, "runs", *names]
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        cells = [format_bytes(row.nbytes), format_seconds(row.bound), *[format_seconds(row.trees)] * trees]
        cells += [f"**{format_seconds(row.plan)}**", times(row.plan, row.bound)]
        cells += [*[times(row.plan, row.trees)] * trees, row.chosen]
        cells += [format_seconds(row.rivals[name]) if name in row.rivals else "–" for name in names]
        print("| " + " | ".join(cells) + " |", flush=True)


def times(seconds: float, least: float) -> str:
    return f"{seconds / least:.3f}" if seconds < 100 * least else "–"


if __name__ == "__main__":
    sys.exit(main())
