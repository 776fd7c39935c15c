"""What planning costs: seconds per stage, peak memory and depth of trees, family by family, on one core.

    python tests/bench/packing.py                           64, 256 and 1,024 ranks
    python tests/bench/packing.py --ranks 4096              4,096 ranks
    python tests/bench/packing.py --pipelines               the guaranteed pipeline beside the fast one
    python tests/bench/packing.py --markdown                the tables of docs/benchmarks.md

Every case runs in a process of its own, bound to one core, so that its peak memory is its own. Seconds are CPU
seconds of that process; the least of `--repeat` runs counts. "packing" holds the bound, the choice of k, growth and
repair; "certify" is the check of the forest that `collsched compile` makes. MB is the peak of the whole process after
packing, Python and the topology included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

# name → bundled topology and its parameters for n ranks
FAMILIES: dict[str, Callable[[int], tuple[str, dict[str, str]]]] = {
    "A100 boxes": lambda n: ("dgx-a100", {"boxes": f"{n // 8}"}),
    "rail-optimised": lambda n: ("rail-optimised", {"boxes": f"{n // 8}"}),
    "MI250 boxes": lambda n: ("mi250", {"boxes": f"{n // 16}"}),
    "fat tree 2:1": lambda n: ("fat-tree", {"boxes": f"{n // 8}"}),
    "2-D torus": lambda n: ("torus-2d", {"dims": "x".join(2 * [str(round(n**0.5))])}),
    "hypercube": lambda n: ("hypercube", {"dimension": f"{n.bit_length() - 1}"}),
    "random": lambda n: ("random-irregular", {"ranks": f"{n}"}),
    "random switched": lambda n: ("random-switched", {"ranks": f"{n}"}),
    "mixed vendors": lambda n: ("mixed-vendors", {"boxes": f"{n // 8}"}),
    "one degraded NIC": lambda n: ("degraded", {"boxes": f"{n // 8}"}),
    "8 + 4 boxes": lambda n: ("unequal-boxes", {"boxes": f"{n // 6}"}),
    "stacked tight cuts": lambda n: (
        "fat-tree",
        {"boxes": f"{n // 8}", "oversubscription": "4", "core_oversubscription": "4"},
    ),
}


def measure(name: str, parameters: dict[str, str], pipeline: str) -> dict[str, object]:
    """One case, in this process."""
    import resource

    from collsched.collective import make_collective
    from collsched.forest.check import check_forest
    from collsched.forest.optimum import optimum
    from collsched.forest.packing import pack
    from collsched.forest.problem import problem
    from collsched.topology import bundled

    seconds = {}
    start = time.process_time()

    def lap(stage: str) -> None:
        nonlocal start
        now = time.process_time()
        seconds[stage], start = now - start, now

    topology = bundled(name, **parameters)
    collective = make_collective(topology, "allgather")
    instance = problem(topology, collective, reverse=False)
    lap("topology")
    bound = optimum(instance)
    lap("bound")
    forest = pack(instance, bound, pipeline=pipeline)
    lap("packing")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    start = time.process_time()
    report = check_forest(topology, collective, forest, reverse=False)
    lap("certify")
    if report.ratio != bound.ratio:
        raise SystemExit(f"{name} {parameters}: ratio {report.ratio}, bound {bound.ratio}")
    return {
        "ranks": len(topology.ranks),
        "seconds": seconds,
        "trees": report.trees,
        "depth_mean": report.depth_mean,
        "depth_max": report.depth_max,
        "peak_MB": peak,
    }


def in_process(name: str, parameters: dict[str, str], pipeline: str, repeat: int) -> dict[str, object]:
    """The fastest of `repeat` runs, each in a fresh process on one core."""
    command = [sys.executable, __file__, "--case", json.dumps([name, parameters, pipeline])]
    runs = []
    for _ in range(repeat):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.strip())
        runs.append(json.loads(done.stdout))
    return min(runs, key=lambda run: run["seconds"]["packing"])


def cases(ranks: list[int], pipelines: tuple[str, ...], repeat: int) -> Iterator[dict[str, object]]:
    for count in ranks:
        for family, make in FAMILIES.items():
            name, parameters = make(count)
            for pipeline in pipelines:
                row = {"family": family, "pipeline": pipeline, **in_process(name, parameters, pipeline, repeat)}
                row["seconds"]["packing"] += row["seconds"]["bound"]
                yield row


def table(rows: list[dict[str, object]], markdown: bool) -> str:
    head = ["family", "ranks", "pipeline", "packing s", "of it bound", "certify s", "trees", "depth", "max", "peak MB"]
    body = [
        [
            str(row["family"]),
            f"{row['ranks']:,}",
            str(row["pipeline"]),
            f"{row['seconds']['packing']:.4f}",
            f"{row['seconds']['bound']:.4f}",
            f"{row['seconds']['certify']:.3f}",
            f"{row['trees']:,}",
            f"{row['depth_mean']:.2f}",
            f"{row['depth_max']}",
            f"{row['peak_MB']:.0f}",
        ]
        for row in rows
    ]
    if markdown:
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in [head, *body])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="64,256,1024", help="counts of ranks, powers of 4 from 64")
    parser.add_argument("--pipelines", action="store_true", help="the guaranteed pipeline beside the fast one")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each case; the fastest counts")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(json.dumps(measure(*json.loads(arguments.case))))
        return
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pipelines = ("auto", "guaranteed") if arguments.pipelines else ("auto",)
    rows = []
    for row in cases([int(count) for count in arguments.ranks.split(",")], pipelines, arguments.repeat):
        rows.append(row)
        print(f"{row['family']}, {row['ranks']} ranks, {row['pipeline']}: {row['seconds']}", file=sys.stderr)
    print(table(rows, arguments.markdown))


if __name__ == "__main__":
    main()
