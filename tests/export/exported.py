"""Plans of random forests and of bundled machines, and their exports as texts: inputs for tests of the formats."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from functools import cache

import growth

from collsched.collective import Kind
from collsched.compiler import compile
from collsched.export.check.msccl import check_msccl
from collsched.export.check.mscclpp import check_mscclpp
from collsched.export.msccl_xml import xml
from collsched.export.mscclpp_json import plan_json
from collsched.forest.optimum import optimum
from collsched.forest.problem import directions, problem
from collsched.ir.blocks import LOADERS, Loader
from collsched.ir.operations import ExecutorLimits
from collsched.ir.placement import Placement
from collsched.lower.buffers import place
from collsched.passes.remote_operations import RemoteOperations
from collsched.passes.thread_blocks import ThreadBlocks
from collsched.plan import Plan
from collsched.topology import resolve
from collsched.topology.model import Link, Node, Topology

FABRICS = {
    "one A100 box": ("dgx-a100", {"boxes": "1"}),
    "two A100 boxes": ("dgx-a100", {"boxes": "2"}),
    "one MI250 box": ("mi250", {}),
    "two MI250 boxes": ("mi250", {"boxes": "2"}),
    "leaf-spine": ("leaf-spine", {}),
}


@cache
def compiled(fabric: str, kind: Kind, trees: int | None = None) -> Plan:
    name, settings = FABRICS[fabric]
    return compile(resolve(name, settings), kind, trees_per_root=trees)


def star(ranks: int) -> Topology:
    """Ranks of one host on one switch."""
    nodes = [Node(f"gpu{i}", "rank", host="box") for i in range(ranks)] + [Node("switch", "switch", host="box")]
    ends = [ends for i in range(ranks) for ends in ((i, ranks), (ranks, i))]
    return Topology("star", tuple(nodes), tuple(Link(src, dst, Fraction(100)) for src, dst in ends))


def grown(seed: int, kind: Kind, *, free: bool = False) -> Plan:
    """Random trees on a random fabric, of any shapes and weights; `free`: of a group in which others relay, and of
    unequal shards where calls of a runtime have equal ones."""
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(1, 6), rng.randint(0, 3))
    ranks = range(len(topology.ranks))
    group = tuple(sorted(rng.sample(ranks, rng.randint(1, len(ranks))))) if free else tuple(ranks)
    if kind is Kind.ALL_TO_ALL:
        return compile(topology, kind, group=group)
    collective = growth.collective(rng, topology, kind, group)
    if kind in (Kind.ALLGATHER, Kind.REDUCE_SCATTER) and not free:
        collective = type(collective)(kind, group, collective.owners, (1,) * len(group))
    phases = directions(kind)
    forests = tuple(growth.grow(rng, topology, collective, reverse=r, k=rng.randint(1, 3)) for r in phases)
    return Plan(topology, collective, forests, tuple(optimum(problem(topology, collective, reverse=r)) for r in phases))


def placed(plan: Plan, segments: int = 1, *, in_place: bool = False) -> Placement:
    return place(plan.topology, plan.schedule(segments), in_place=in_place)


def msccl(placement: Placement, profile: str | Loader = "executor", channels: int = 1) -> str:
    loader = LOADERS[profile] if isinstance(profile, str) else profile
    return "".join(xml(ThreadBlocks(loader, channels)(placement), loader, "test"))


def mscclpp(placement: Placement, hosts: int = 1, blocks: int = 16, limits: ExecutorLimits | None = None) -> str:
    """Ranks are dealt to `hosts` hosts."""
    turn = RemoteOperations([rank % hosts for rank in range(placement.ranks)], blocks, limits or ExecutorLimits())
    return "".join(plan_json(turn(placement), "test"))


def load_msccl(text: str, placement: Placement, profile: str = "executor") -> Counter[tuple[int, int]]:
    return check_msccl(text, profile, ranks=placement.ranks, kind=placement.kind, root=placement.root)


def load_mscclpp(text: str, placement: Placement) -> Counter[tuple[int, int]]:
    return check_mscclpp(
        text, ranks=placement.ranks, kind=placement.kind, root=placement.root, in_place=placement.in_place
    )


def moved(placement: Placement) -> Counter[tuple[int, int]]:
    """The units that the moves of a placement carry from rank to rank."""
    count: Counter[tuple[int, int]] = Counter()
    for move in placement.moves:
        count[move.src, move.dst] += move.units
    return count
