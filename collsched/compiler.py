"""From a topology to a verified plan: the whole pipeline on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

from collsched import __version__
from collsched.collective import Collective, Kind, make_collective
from collsched.contest import SIZES
from collsched.cost import GB
from collsched.errors import InputError
from collsched.forest.bounds import allreduce_bound
from collsched.forest.concurrent import exchange
from collsched.forest.joint import Joint, joint, ways
from collsched.forest.mirror import mirrored, opposite_links
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum, check_reachable, optimum
from collsched.forest.packing import pack
from collsched.forest.problem import directions, problem
from collsched.matrix import SizeMatrix
from collsched.plan import Plan
from collsched.request import Pipeline, Request
from collsched.request import Stages as Stages
from collsched.simulated import by_simulation
from collsched.topology.model import Topology

PIPELINES: tuple[Pipeline, ...] = ("auto", "fast", "guaranteed")
Allreduce = Literal["auto", "two-phase", "joint"]
ALLREDUCES: tuple[Allreduce, ...] = ("auto", "two-phase", "joint")
InNetwork = Literal["auto", "off"]
IN_NETWORK: tuple[InNetwork, ...] = ("auto", "off")
Objective = Literal["throughput", "latency", "auto"]
OBJECTIVES: tuple[Objective, ...] = ("throughput", "latency", "auto")
DEFAULT_SIZE = 256 * 2**20  # bytes
SMALL_SIZE = 1024  # bytes, for which "latency" chooses
JOINT_RANKS = 1024  # beyond, only on request


def compile(
    topology: Topology,
    kind: Kind | str = Kind.ALLREDUCE,
    *,
    group: str | Sequence[int | str] | None = None,
    root: int | str | None = None,
    shards: Mapping[str, Fraction | int] | None = None,
    matrix: SizeMatrix | Mapping[str, Mapping[str, Fraction | int]] | None = None,
    size: int = DEFAULT_SIZE,
    trees_per_root: int | None = None,
    seed: int = 0,
    pipeline: Pipeline = "auto",
    allreduce: Allreduce = "auto",
    in_network: InNetwork = "auto",
    objective: Objective = "throughput",
    sizes: Sequence[int] | None = None,
    stages: Stages | None = None,
) -> Plan:
    """A verified plan that meets the cut bound of every phase, or the best for `trees_per_root` trees per root.

    `objective`: "throughput" for that plan, which nothing beats on a buffer without end; "auto" for what is fastest in
    simulated time at `size` and at each of `sizes` (by default 1 KiB to 1 GiB), of packed forests, all algorithms that
    apply, and their shapes: a plan with ranges of sizes; "latency" for what is fastest at 1 KiB.

    `allreduce`: "two-phase" for a reduce-scatter and then an allgather; "joint" for both at once on shares of the
    links, with the roots' weights chosen too; "auto" for the one that is predicted
    to be faster at `size`, of groups of up to JOINT_RANKS ranks.

    `in_network`: "off" for a plan that leaves copying and summing to the ranks, whatever the switches can do.

    `group`, `root`, `shards`, `matrix`: see `make_collective`. `size`: bytes of the buffer that the plan is meant for,
    which its exports assume. `trees_per_root` counts per unit of shard size. `seed`: equal arguments give equal plans.
    `stages` is told of each stage and keeps its time. Raises InputError for arguments that do not fit, UnreachableError
    (with a witness) for ranks that the data cannot reach, VerificationError where the compiler itself is at fault.
    """
    _check_options(size, trees_per_root, seed, pipeline)
    _check_objective(objective, sizes)
    if in_network not in IN_NETWORK:
        raise InputError(f"in-network {in_network!r}; one of {', '.join(IN_NETWORK)}")
    if in_network == "off":
        topology = topology.without_in_network()
    collective = make_collective(topology, kind, group=group, root=root, shards=shards, matrix=matrix)
    _check_allreduce(allreduce, collective, trees_per_root, shards)
    if trees_per_root is not None and collective.kind is Kind.ALL_TO_ALL:
        raise InputError("trees per root do not apply to an all-to-all, which moves along paths; leave them out")
    stage = stages or Stages()

    # A cut of zero has to be found before anything divides by it.
    with stage("reachability"):
        check_reachable(topology, collective)

    request = Request(topology, collective, stage, size, trees_per_root, seed, pipeline)
    if objective != "throughput" and len(collective.group) > 1:
        among = (SMALL_SIZE,) if objective == "latency" else (*(SIZES if sizes is None else sizes), size)
        above_zero = sorted({nbytes for nbytes in among if nbytes})
        return by_simulation(request, lambda asked: _planned(asked, allreduce, shards), above_zero or SIZES[:1])
    return _planned(request, allreduce, shards)


def _planned(request: Request, allreduce: Allreduce, shards: Mapping[str, Fraction | int] | None) -> Plan:
    """The plan of the highest throughput."""
    collective, trees_per_root = request.collective, request.trees_per_root
    tried = allreduce == "joint" or (allreduce == "auto" and len(collective.group) <= JOINT_RANKS)
    if collective.kind is not Kind.ALLREDUCE or not tried or trees_per_root or shards is not None:
        return _in_phases(request)
    return _allreduce(request, required=allreduce == "joint")


def _allreduce(request: Request, *, required: bool) -> Plan:
    """Both phases at once if that is faster than one after the other, for a buffer of the size asked for."""
    topology, collective = request.topology, request.collective
    with request.stage("joint program"):
        bound = allreduce_bound(topology, collective)
        phases = [optimum(problem(topology, collective, reverse=reverse)) for reverse in directions(collective.kind)]
        if not required:
            planned = ways(topology, collective, phases, bound).winner
        elif bound.ratio:
            planned = joint(topology, collective, proven=sum(collective.shards) / bound.ratio)
        else:
            planned = None
    if planned is None:
        if required:
            raise InputError("the joint program of this allreduce has no solution; use --allreduce auto or two-phase")
        return _in_phases(request)
    plan = _at_once(request, planned)
    ratio = sum((phase.ratio for phase in phases), Fraction(0))
    two_phases = ratio * request.size / (sum(collective.shards) * GB)  # seconds on the fullest links alone
    if required or plan.predict(request.size).seconds <= two_phases:
        return plan
    return min(plan, _in_phases(request), key=lambda found: found.predict(request.size).seconds)


def _in_phases(request: Request) -> Plan:
    """The phases one after the other."""
    bounds, forests = _phases(
        request.topology,
        request.collective,
        request.stage,
        request.trees_per_root,
        request.seed,
        request.pipeline,
    )
    chosen = {"allreduce": "two-phase"} if request.collective.kind is Kind.ALLREDUCE else {}
    return _finish(request, request.collective, bounds, forests, chosen)


def _at_once(request: Request, planned: Joint) -> Plan:
    """Both phases of an allreduce at once; `bounds` are what the whole fabric sets each of them with these roots."""
    topology, stage = request.topology, request.stage
    with stage("bound"):
        phases = directions(Kind.ALLREDUCE)
        bounds = tuple(optimum(problem(topology, planned.collective, reverse=reverse)) for reverse in phases)
    with stage("packing"):
        forests = planned.forests(topology, seed=request.seed, pipeline=request.pipeline)
    return _finish(request, planned.collective, bounds, forests, {"allreduce": "joint"})


def _finish(
    request: Request,
    collective: Collective,
    bounds: tuple[Optimum, ...],
    forests: tuple[Forest, ...],
    chosen: Mapping[str, str],
) -> Plan:
    """The plan, lowered and verified."""
    options = {
        "size": request.size,
        "trees_per_root": request.trees_per_root,
        "seed": request.seed,
        "pipeline": request.pipeline,
    }
    # The plan shares the dictionary of stage times, which is complete once `compile` returns.
    provenance = {"version": __version__, "seconds": request.stage.seconds}
    plan = Plan(request.topology, collective, forests, bounds, options | dict(chosen), provenance)
    with request.stage("lowering"):
        plan.schedule()

    # Last, and by code that shares nothing with the steps above: what is returned is what was checked.
    with request.stage("verification"):
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

    if collective.kind is Kind.ALL_TO_ALL:
        with stage("paths"):
            found = exchange(topology, collective)
        return (found.optimum,), (found.forest,)

    reverses = directions(collective.kind)
    with stage("bound"):
        opposite = opposite_links(topology) if len(reverses) == 2 else None
    if opposite is None:
        solved = [solve(reverse) for reverse in reverses]
        return tuple(best for best, _ in solved), tuple(forest for _, forest in solved)

    # Both phases of an allreduce face the same fabric: pack the allgather, and turn it round for the reduce-scatter.
    best, out = solve(False)
    return (best, best), (mirrored(out, opposite), out)


def _check_allreduce(
    allreduce: str,
    collective: Collective,
    trees_per_root: int | None,
    shards: Mapping[str, Fraction | int] | None,
) -> None:
    if allreduce not in ALLREDUCES:
        raise InputError(f"allreduce {allreduce!r}; one of {', '.join(ALLREDUCES)}")
    if allreduce == "auto":
        return
    if collective.kind is not Kind.ALLREDUCE:
        raise InputError(f"--allreduce does not apply to {collective.kind}; leave it out")
    if allreduce == "joint" and (trees_per_root is not None or shards is not None):
        settled = "--trees-per-root" if trees_per_root is not None else "--shards"
        raise InputError(
            f"a joint allreduce chooses its roots and their trees; leave out {settled}, or --allreduce joint"
        )


def _check_objective(objective: str, sizes: Sequence[int] | None) -> None:
    if objective not in OBJECTIVES:
        raise InputError(f"objective {objective!r}; one of {', '.join(OBJECTIVES)}")
    if sizes is not None and objective != "auto":
        raise InputError("sizes are chosen for with objective auto; leave them out")
    if sizes is not None and not all(size > 0 for size in sizes):
        raise InputError(f"sizes {list(sizes)}; numbers of bytes above 0")


def _check_options(size: int, trees_per_root: int | None, seed: int, pipeline: str) -> None:
    if size < 0:
        raise InputError(f"size {size}; a number of bytes, 0 or more")
    if trees_per_root is not None and not 1 <= trees_per_root <= 2**20:
        raise InputError(f"trees per root {trees_per_root}; a number from 1 to {2**20}")
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}; a number from 0 to 2^63 - 1")
    if pipeline not in PIPELINES:
        raise InputError(f"pipeline {pipeline!r}; one of {', '.join(PIPELINES)}")
