"""Random all-to-all plans."""

from __future__ import annotations

import random

import growth

from collsched.collective import Kind
from collsched.compiler import compile
from collsched.plan import Plan


def plan_of(seed: int) -> Plan:
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(1, 6), rng.randint(0, 3))
    ranks = range(len(topology.ranks))
    return compile(topology, Kind.ALL_TO_ALL, group=sorted(rng.sample(ranks, rng.randint(1, len(ranks)))))
