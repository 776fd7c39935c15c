"""Where the flows of `collsched route` come from: a plan, an algorithm's name or a file; and the links that failed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from collsched.cli import _common as common
from collsched.errors import InputError
from collsched.routes.algorithms import algorithm_phases, flows_between, strided
from collsched.routes.files import read_flows
from collsched.routes.model import Phase
from collsched.routes.network import failed_links
from collsched.topology.model import Topology
from collsched.units import parse_bandwidth

if TYPE_CHECKING:
    from collsched.plan import Plan


def gather(
    source: str,
    settings: tuple[str, ...],
    *,
    needed: bool,
    flows_file: str | None,
    algorithm: str | None,
    group: str | None,
    stride: int,
    size: int,
) -> tuple[Topology, list[Phase]]:
    """The topology, and the phases whose flows the options name."""
    from collsched.plan import Plan, is_plan

    if is_plan(Path(source)):
        plan = Plan.load(source)
        if flows_file is None and algorithm is None:
            return plan.topology, plan_phases(plan, size) if needed else []
        topology = plan.topology
    else:
        topology = common.load_topology(source, settings)
    if flows_file is not None and algorithm is not None:
        raise InputError("--flows and --algorithm; allowed is one of them; leave the other out")
    if flows_file is not None:
        return topology, [Phase("flows", read_flows(flows_file, topology))]
    if algorithm is not None:
        return topology, algorithm_phases(algorithm, _members(topology, group, stride), size)
    if needed:
        raise InputError(
            f"{source}: a topology has no flows; allowed are --flows FILE or --algorithm NAME; name one, or give a plan"
        )
    return topology, []


def _members(topology: Topology, group: str | None, stride: int) -> list[int]:
    from collsched.topology.names import RankNames

    ranks = range(len(topology.ranks)) if group is None else RankNames.of(topology).select(group)
    return strided(list(ranks), stride)


def plan_phases(plan: Plan, size: int) -> list[Phase]:
    """What the ranks of a plan send one another in each phase, in bytes of a buffer of `size`, rounded up."""
    plan, phases = plan.at(size), []
    for number, forest in enumerate(plan.forests):
        if forest.routes.switches(plan.topology):
            raise InputError(
                "switches copy or sum the data of this plan, along trees that are theirs to place; allowed are plans "
                "whose ranks send to ranks; compile with --in-network off"
            )
        units = np.zeros(len(forest.routes.ptr) - 1, np.int64)
        np.add.at(units, forest.edges, np.repeat(forest.multiplicity, np.diff(forest.ptr)))
        rank_of = np.zeros(len(plan.topology.nodes), np.int64)
        rank_of[list(plan.topology.ranks)] = np.arange(len(plan.topology.ranks))
        src, dst = (rank_of[nodes] for nodes in forest.routes.ends(plan.topology))
        pairs, pair = np.unique(src * len(rank_of) + dst, return_inverse=True)
        total = np.zeros(len(pairs), np.int64)
        np.add.at(total, pair, units)
        used = np.flatnonzero(total)
        whole = forest.k * plan.weight
        sizes = [-(-count * size // whole) for count in total[used].tolist()]
        begin, end = (ends.tolist() for ends in np.divmod(pairs[used], len(rank_of)))
        flows = flows_between(begin, end, sizes)
        phases.append(Phase(f"phase {number}", flows))
    return phases


def parse_failed(topology: Topology, words: Sequence[str]) -> dict[int, Fraction]:
    """`SRC:DST` or `SRC:DST=RATE` as link id → GB/s."""
    rates: dict[tuple[str, str], Fraction] = {}
    names = {node.name for node in topology.nodes}
    for word in words:
        ends, equals, rate = word.partition("=")
        cuts = [at for at, letter in enumerate(ends) if letter == ":"]
        pairs = [(ends[:at].strip(), ends[at + 1 :].strip()) for at in cuts]
        if not pairs or (equals and not rate):
            raise InputError(
                f"--failed {word!r}; allowed is SRC:DST or SRC:DST=GB/s; write for example leaf0:spine1=6.25"
            )
        pair = next(((a, b) for a, b in pairs if a in names and b in names), pairs[0])
        value = rate.strip()
        rates[pair] = Fraction(0) if not equals or value == "0" else parse_bandwidth(value)
    return failed_links(topology, rates)
