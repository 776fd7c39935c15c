"""Small random fabrics and collectives: Eulerian and not, with and without switches, weighted, partial groups."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

from collsched.collective import Collective, Kind, make_collective
from collsched.forest.problem import Problem, directions, problem
from collsched.topology.model import Link, Node, Topology

KINDS = tuple(kind for kind in Kind if kind is not Kind.ALL_TO_ALL)


@dataclass(frozen=True)
class Case:
    topology: Topology
    collective: Collective

    @property
    def problems(self) -> list[Problem]:
        return [problem(self.topology, self.collective, reverse=r) for r in directions(self.collective.kind)]


def fabric(draw: random.Random, *, ranks: int = 6, switches: int = 3, balanced: bool = False) -> Topology:
    """A fabric of at most that many nodes; some are disconnected. Balanced: every node's links in and out agree."""
    kinds = ["rank"] * draw.randint(1, ranks) + ["switch"] * draw.randint(0, switches)
    draw.shuffle(kinds)
    bandwidths = draw.choice(([1], [1, 2, 3], [5, 10, 25, 300], [Fraction(1, 2), Fraction(3, 4), 2], range(1, 30)))
    symmetric = balanced or draw.random() < 0.4
    links: dict[tuple[int, int], Fraction] = {}
    density = draw.choice((0.3, 0.6, 0.9))
    for u in range(len(kinds)):
        for v in range(u):
            if draw.random() < density:
                there, back = (Fraction(draw.choice(bandwidths)) for _ in range(2))
                links[u, v], links[v, u] = there, there if symmetric else back
    if len(kinds) > 1 and draw.random() < 0.4:
        _add_cycles(draw, links, len(kinds))
    nodes = tuple(Node(f"{kind}{i}", "rank" if kind == "rank" else "switch") for i, kind in enumerate(kinds))
    return Topology("random", nodes, tuple(Link(u, v, b) for (u, v), b in sorted(links.items())))


def _add_cycles(draw: random.Random, links: dict[tuple[int, int], Fraction], nodes: int) -> None:
    for _ in range(draw.randint(1, 4)):
        cycle = draw.sample(range(nodes), min(nodes, draw.randint(2, 4)))
        bandwidth = Fraction(draw.randint(1, 9))
        for arc in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            links[arc] = links.get(arc, Fraction(0)) + bandwidth


def case(seed: int, *, ranks: int = 6, switches: int = 3, balanced: bool = False) -> Case:
    draw = random.Random(seed)
    topology = fabric(draw, ranks=ranks, switches=switches, balanced=balanced)
    kind = draw.choice(KINDS)
    count = len(topology.ranks)
    group = sorted(draw.sample(range(count), draw.randint(1, count))) if draw.random() < 0.3 else list(range(count))
    root = draw.choice(group) if kind.rooted else None
    shards = None
    if draw.random() < 0.3 and kind not in (Kind.BROADCAST, Kind.REDUCE, Kind.ALLREDUCE):
        shards = {topology.nodes[topology.ranks[rank]].name: draw.randint(0, 4) for rank in group}
        shards[topology.nodes[topology.ranks[group[-1]]].name] = 3
    return Case(topology, make_collective(topology, kind, group=group, root=root, shards=shards))


def arcs(instance: Problem) -> dict[tuple[int, int], int]:
    ends = zip(instance.src.tolist(), instance.dst.tolist(), strict=True)
    return dict(zip(ends, instance.capacity.tolist(), strict=True))


def terminals(instance: Problem) -> list[int]:
    return [v for v in range(instance.nodes) if instance.terminal[v]]
