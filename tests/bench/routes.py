"""What planned paths are worth and what planning costs: the reference scenarios, large fabrics, failures; on one core.

    python tests/bench/routes.py                 all three tables
    python tests/bench/routes.py --markdown      the tables of docs/routes.md
    python tests/bench/routes.py --failures 20   more random failures of each case

Loads are those of the fullest link over what ideal spraying needs; a load that is printed as 1.000 has been compared
exactly, but for a byte a piece. Seconds are CPU seconds of one process bound to one core, checking included. A case
that breaks a promise of the planner ends the benchmark with an error.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np

MIB = 1 << 20
RATE = "12.5"  # GB/s of every link

Rows = list[list[str]]


def fabric(leaves: int, hosts: int, spines: int):
    """A leaf–spine of equal links."""
    from collsched.topology.document import Source
    from collsched.topology.reader import read_topology

    size = f"ranks: {leaves * hosts}, per_leaf: {hosts}, spines: {spines}, oversubscription: {hosts}/{spines}"
    text = f"collsched: topology/1\nname: fabric\nfamily: {{kind: leaf-spine, bandwidth: {RATE}, {size}}}\n"
    return read_topology(text, Source("fabric.yaml"), {})


def flows(src, dst, size: int):
    from collsched.routes.model import Flows

    return Flows(np.asarray(src, np.int32), np.asarray(dst, np.int32), np.full(len(src), size, np.int64))


def ring(leaves: int, hosts: int, size: int):
    """One step of a ring over strided ranks: every hop crosses leaves."""
    src = np.arange(leaves * hosts)
    return flows(src, (src + hosts) % len(src), size)


def permutation(ranks: int, size: int):
    order = np.random.default_rng(0).permutation(ranks)
    return flows(order, np.roll(order, 1), size)


def exchange(members, size: int):
    """All pairs of these ranks."""
    src, dst = (ends.ravel() for ends in np.meshgrid(members, members, indexing="ij"))
    return flows(src[src != dst], dst[src != dst], size)


def slow_spine(topology, name: str, share: Fraction):
    """Every link of a spine at a share of its rate."""
    names = [node.name for node in topology.nodes]
    links = enumerate(topology.links)
    return {i: link.bandwidth * share for i, link in links if name in (names[link.src], names[link.dst])}


def reference() -> dict[str, tuple]:
    wide, narrow = fabric(16, 16, 16), fabric(16, 11, 8)
    quarter = slow_spine(wide, "spine15", Fraction(1, 4))
    return {
        "16 spines, 16 flows a leaf": (wide, ring(16, 16, 8 * MIB), {}),
        "8 spines, 11 flows a leaf": (narrow, ring(16, 11, 8 * MIB), {}),
        "16 spines, one at 25 %": (wide, ring(16, 16, 8 * MIB), quarter),
    }


def large() -> dict[str, tuple]:
    wide = fabric(64, 64, 64)
    spread = [leaf * 64 + host for leaf in range(64) for host in range(16)]
    return {
        "ring, 4,096 ranks on 64 × 64": (wide, ring(64, 64, MIB), {}),
        "permutation, 4,096 ranks on 64 × 64": (wide, permutation(4096, MIB), {}),
        "all-to-all, 1,024 ranks on 64 × 64": (wide, exchange(spread, MIB), {}),
        "all-to-all, 1,024 ranks on 16 × 64": (fabric(16, 64, 64), exchange(range(1024), MIB), {}),
    }


def timed(work: Callable):
    start = time.process_time()
    return work(), time.process_time() - start


def reference_rows() -> Rows:
    from collsched.routes.ecmp import expect
    from collsched.routes.planner import plan_flows

    rows = []
    for name, (topology, wanted, failed) in reference().items():
        exact = plan_flows(topology, wanted, failed=failed)
        require(name, exact.kept and exact.spray_known)
        for mode, words in (("nosplit", "no split"), ("exact", "exact"), ("per-source", "each source for itself")):
            plan = exact if mode == "exact" else plan_flows(topology, wanted, mode=mode, failed=failed)
            load = plan.congestion / exact.spray
            least = f"{len(wanted) + exact.lower_bound_splits:,}" if mode == "exact" else ""
            rows.append([name, words, f"{len(plan.subflows):,}", least, f"{float(load):.3f}", ""])
        for parts in (1, 2, 8, 16):
            found = expect(exact.network, parts)
            load, last = (value / float(exact.spray) for value in (found.mean, found.p99))
            words = f"ECMP, {parts} hash{'es' * (parts > 1)} a flow"
            rows.append([name, words, f"{len(wanted) * parts:,}", "", f"{load:.2f}", f"{last:.2f}"])
    return rows


def failure_rows(count: int) -> tuple[Rows, Rows]:
    """Plans of all cases, and what failures of random links between switches cost."""
    from collsched.routes.planner import plan_flows

    planned, failures = [], []
    for name, (topology, wanted, before) in (reference() | large()).items():
        plan, seconds = timed(lambda t=topology, w=wanted, b=before: plan_flows(t, w, failed=b))
        require(name, plan.kept and plan.spray_known)
        load = f"{float(plan.congestion / plan.spray):.3f}"
        planned.append([name, f"{len(wanted):,}", f"{plan.splits:,}", load, f"{seconds:.2f}"])
        failures.append([name, *failed(name, topology, wanted, before, plan, count)])
        print(*planned[-1], *failures[-1][1:], sep="  ", file=sys.stderr)
    return planned, failures


def failed(name: str, topology, wanted, before, plan, count: int) -> list[str]:
    from collsched.routes.exact import within
    from collsched.routes.planner import plan_flows
    from collsched.routes.replan import replan

    kinds = [node.kind for node in topology.nodes]
    fabric_links = [i for i, link in enumerate(topology.links) if kinds[link.src] == kinds[link.dst] == "switch"]
    chosen = np.random.default_rng(1).choice(fabric_links, count, replace=False).tolist()
    times, shares, moved, least = [], [], 0, 0
    for link in chosen:
        out = {link: Fraction(0)}
        mended, seconds = timed(lambda out=out: replan(plan.network, plan.subflows, out))
        fresh, anew = timed(lambda out=out: plan_flows(topology, wanted, failed={**before, **out}))
        require(name, fresh.spray_known and within(mended.network, mended.subflows, fresh.spray))
        require(name, seconds < 0.05 or seconds < anew / 10, hard=False)
        times.append(seconds)
        shares.append(seconds / anew)
        moved, least = moved + mended.moved, least + mended.least_moved
    worst = f"{max(times) * 1000:.0f} ms", f"{max(shares):.3f}"
    return [f"{count}", *worst, f"{moved / count:.1f}", f"{least / count:.1f}"]


def require(name: str, kept: bool, *, hard: bool = True) -> None:
    if not kept and hard:
        raise SystemExit(f"{name}: a promise is not kept")
    if not kept:
        print(f"{name}: slower than a tenth of a fresh plan and than 50 ms", file=sys.stderr)


def table(head: list[str], rows: Rows, markdown: bool) -> str:
    if markdown:
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in [head, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--failures", type=int, default=5, help="random failures of each case")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(table(["ring step", "paths", "subflows", "at least", "load", "99 %"], reference_rows(), arguments.markdown))
    planned, failures = failure_rows(arguments.failures)
    print()
    print(table(["flows of", "flows", "splits", "load", "CPU s"], planned, arguments.markdown))
    print()
    head = ["after a failure of", "failures", "slowest", "of a fresh plan", "changed", "had to"]
    print(table(head, failures, arguments.markdown))


if __name__ == "__main__":
    main()
