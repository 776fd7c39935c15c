"""What a training job says about its fabric: a topology or plans, by argument or by COLLSCHED_TOPOLOGY."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collsched.compiler import OBJECTIVES, Objective
from collsched.errors import InputError
from collsched.lower.programs import check_ranks_alone
from collsched.plan import Plan, is_plan
from collsched.topology import resolve
from collsched.topology.model import Topology

ENV_TOPOLOGY, ENV_PLANS = "COLLSCHED_TOPOLOGY", "COLLSCHED_PLANS"

Source = Topology | Plan | str | Path | Sequence[Plan | str | Path]


@dataclass(frozen=True)
class Options:
    """How a process group finds its plans; for `init_process_group("collsched", pg_options=Options(…))`.

    `source`: a Topology, a Plan, several plans of one topology, or files of these; a word without slash and suffix is a
    bundled topology. None: what the environment variable COLLSCHED_TOPOLOGY names; without it the ranks must be on one
    machine, and its memory is the fabric. Rank r of the job is rank r of the topology. `plans`: a directory in which
    compiled plans are kept for the next job (COLLSCHED_PLANS). `objective`: what plans are compiled for (see
    `collsched.compile`); by default "auto", a range for every size, up to 64 ranks, and "throughput" beyond. `engine`:
    by default the one that serves the ranks and where the tensors are. `tuning`: of the engine's own class.
    """

    source: Source | None = None
    plans: str | Path | None = None
    objective: Objective | None = None
    engine: str = "auto"
    tuning: Any = None

    def __post_init__(self) -> None:
        if self.objective is not None and self.objective not in OBJECTIVES:
            raise InputError(f"objective {self.objective!r}; one of {', '.join(OBJECTIVES)}")

    @property
    def directory(self) -> Path | None:
        """Where plans are kept, which must exist. Raises InputError."""
        name = self.plans or os.environ.get(ENV_PLANS)
        if name is None:
            return None
        if not Path(name).is_dir():
            raise InputError(f"{name}: not a directory; make it first, for the plans of this job")
        return Path(name)


@dataclass(frozen=True)
class Given:
    """What a source gave: the topology, and the plans that came with it. No topology: none was named."""

    topology: Topology | None
    plans: tuple[Plan, ...] = ()


def read(source: Source | None) -> Given:
    """The topology and the plans that a source means. Raises InputError, TopologyError, PlanError."""
    if source is None:
        source = os.environ.get(ENV_TOPOLOGY) or None
    if source is None:
        return Given(None)
    if isinstance(source, Topology):
        return Given(source)
    several = [source] if isinstance(source, Plan | str | Path) else list(source)
    if not several:
        raise InputError("no plan is given; give one, or a topology")
    if len(several) == 1 and isinstance(several[0], str | Path) and not is_plan(Path(several[0])):
        return Given(resolve(str(several[0])))
    plans = tuple(item if isinstance(item, Plan) else Plan.load(item) for item in several)
    for plan in plans:
        _check(plan, plans[0].topology)
    return Given(plans[0].topology, plans)


def _check(plan: Plan, topology: Topology) -> None:
    """Raises InputError for a plan that a process group cannot use, VerificationError for one that is wrong."""
    if plan.topology != topology:
        raise InputError(
            f"plans of two topologies, {topology.name!r} and {plan.topology.name!r}; give plans of one topology"
        )
    if plan.collective.group != tuple(range(len(topology.ranks))):
        raise InputError(
            f"a plan for {len(plan.collective.group)} of {len(topology.ranks)} ranks; ranks outside a group take no "
            "part in its calls, so compile without --group, and process groups get plans of their own"
        )
    shards = plan.collective.shards
    if not plan.collective.kind.rooted and plan.collective.kind.value != "allreduce" and len(set(shards)) > 1:
        raise InputError(f"a plan for {plan.collective.kind} of unequal shards; torch has equal ones: compile without")
    plan.verify()
    check_ranks_alone(plan.topology, plan.schedule().routes)
