"""From a topology to a verified plan: the whole pipeline on one page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from collsched import __version__
from collsched.collective import Collective, Kind, make_collective
from collsched.errors import InputError
from collsched.forest.mirror import mirrored, opposite_links
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum, check_reachable, optimum
from collsched.forest.packing import pack
from collsched.forest.problem import directions, problem
from collsched.plan import Plan
from collsched.topology.model import Topology

Pipeline = Literal["auto", "fast", "guaranteed"]
PIPELINES: tuple[Pipeline, ...] = ("auto", "fast", "guaranteed")
DEFAULT_SIZE = 256 * 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Stages:
    """Names each stage to `progress` as it begins, and keeps the seconds that it took."""

    progress: Callable[[str], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def compile(
    topology: Topology,
    kind: Kind | str = Kind.ALLREDUCE,
    *,
    group: str | Sequence[int | str] | None = None,
    root: int | str | None = None,
    shards: Mapping[str, Fraction | int] | None = None,
    size: int = DEFAULT_SIZE,
    trees_per_root: int | None = None,
    seed: int = 0,
    pipeline: Pipeline = "auto",
    stages: Stages | None = None,
) -> Plan:
    """A verified plan that meets the cut bound of every phase, or the best for `trees_per_root` trees per root.

    `group`, `root`, `shards`: see `make_collective`. `size`: bytes of the buffer that the plan is meant for, which its
    exports assume. `trees_per_root` counts per unit of shard size. `seed`: equal arguments give equal plans. `stages`
    is told of each stage and keeps its time. Raises InputError for arguments that do not fit, UnreachableError (with a
    witness) for ranks that the data cannot reach, VerificationError where the compiler itself is at fault.
    """
    _check_options(size, trees_per_root, seed, pipeline)
    collective = make_collective(topology, kind, group=group, root=root, shards=shards)
    stage = stages or Stages()

    # A cut of zero has to be found before anything divides by it.
    with stage("reachability"):
        check_reachable(topology, collective)

    bounds, forests = _phases(topology, collective, stage, trees_per_root, seed, pipeline)
    options = {"size": size, "trees_per_root": trees_per_root, "seed": seed, "pipeline": pipeline}
    # The plan shares the dictionary of stage times, which is complete once this function returns.
    plan = Plan(topology, collective, forests, bounds, options, {"version": __version__, "seconds": stage.seconds})

    with stage("lowering"):
        plan.schedule()

    # Last, and by code that shares nothing with the steps above: what is returned is what was checked.
    with stage("verification"):
        _ = plan.report
    return plan


def _phases(
    topology: Topology,
    collective: Collective,
    stage: Stages,
    trees_per_root: int | None,
    seed: int,
    pipeline: Pipeline,
) -> tuple[tuple[Optimum, ...], tuple[Forest, ...]]:
    """The bound and the forest of each phase, in the order of `directions`."""

    def solve(reverse: bool) -> tuple[Optimum, Forest]:
        instance = problem(topology, collective, reverse=reverse)
        with stage("bound"):
            best = optimum(instance)
        with stage("packing"):
            return best, pack(instance, best, k=trees_per_root, seed=seed, pipeline=pipeline)

    reverses = directions(collective.kind)
    with stage("bound"):
        opposite = opposite_links(topology) if len(reverses) == 2 else None
    if opposite is None:
        solved = [solve(reverse) for reverse in reverses]
        return tuple(best for best, _ in solved), tuple(forest for _, forest in solved)

    # Both phases of an allreduce face the same fabric: pack the allgather, and turn it round for the reduce-scatter.
    best, out = solve(False)
    return (best, best), (mirrored(out, opposite), out)


def _check_options(size: int, trees_per_root: int | None, seed: int, pipeline: str) -> None:
    if size < 0:
        raise InputError(f"size {size}; a number of bytes, 0 or more")
    if trees_per_root is not None and not 1 <= trees_per_root <= 2**20:
        raise InputError(f"trees per root {trees_per_root}; a number from 1 to {2**20}")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}; a number from 0 to 2^63 - 1")
    if pipeline not in PIPELINES:
        raise InputError(f"pipeline {pipeline!r}; one of {', '.join(PIPELINES)}")
