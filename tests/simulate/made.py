"""Fabrics and schedules made by hand or at random, for the simulator."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from collsched.collective import make_collective
from collsched.forest.model import Routes
from collsched.ir.schedule import Chunks, Joins, Schedule, Transfers
from collsched.topology.model import Link, Node, Topology


def star(ranks: int, bandwidth: int = 10, alpha: Fraction = Fraction(1)) -> Topology:
    """Ranks on one switch."""
    nodes = (*(Node(f"r{i}", "rank") for i in range(ranks)), Node("sw", "switch"))
    pairs = [pair for i in range(ranks) for pair in ((i, ranks), (ranks, i))]
    return Topology("star", nodes, tuple(Link(a, b, Fraction(bandwidth), alpha) for a, b in pairs))


def chain(ranks: int, bandwidth: int = 10, alpha: Fraction = Fraction(2)) -> Topology:
    """Ranks in a row, linked both ways."""
    pairs = [pair for i in range(ranks - 1) for pair in ((i, i + 1), (i + 1, i))]
    nodes = tuple(Node(f"r{i}", "rank") for i in range(ranks))
    return Topology("chain", nodes, tuple(Link(a, b, Fraction(bandwidth), alpha) for a, b in pairs))


def schedule(
    topology: Topology,
    lengths: Sequence[int],
    paths: Sequence[Sequence[int]],
    transfers: Sequence[tuple[int, int, Sequence[int], int]],
) -> Schedule:
    """Chunks of these lengths, paths of nodes, and transfers of (chunk, path, after, channel)."""
    link = {(link.src, link.dst): number for number, link in enumerate(topology.links)}
    links = [[link[a, b] for a, b in itertools.pairwise(path)] for path in paths]
    total, ends = sum(lengths), np.cumsum(lengths)
    chunks = Chunks(
        np.zeros(len(lengths), np.int32), ends - np.array(lengths), np.array(lengths), np.full(len(lengths), total)
    )
    chunk, route, after, channel = zip(*transfers, strict=True)
    return Schedule(
        make_collective(topology, "broadcast"),
        chunks,
        Routes(np.cumsum([0, *map(len, links)]), np.concatenate([np.array(part, np.int32) for part in links])),
        Transfers(
            np.array(chunk, np.int32),
            np.array(route, np.uint32),
            np.zeros(len(chunk), np.uint8),
            np.arange(1, len(chunk) + 1, dtype=np.int32),
            np.array(channel, np.int16),
        ),
        Joins(
            np.cumsum([0, 0, *map(len, after)]), np.array([m for members in after for m in sorted(members)], np.int32)
        ),
    )


def anything(seed: int) -> tuple[Topology, Schedule]:
    """A random fabric and random transfers on it, which need not do anything useful."""
    draw = random.Random(seed)
    ranks, switches = draw.randint(2, 5), draw.randint(1, 4)
    count = ranks + switches
    nodes = tuple(Node(f"n{i}", "rank" if i < ranks else "switch") for i in range(count))
    pairs = {(a, b) for a in range(count) for b in range(count) if a != b and draw.random() < 0.5}
    pairs |= {pair for rank in range(ranks) for pair in ((rank, ranks), (ranks, rank))}
    rates, alphas = draw.choice(([10], [1, 2, 3, 5], [25, 300])), draw.choice(([1], [0], [0, 1, 2, Fraction(1, 3)]))
    links = [Link(a, b, Fraction(draw.choice(rates)), Fraction(draw.choice(alphas))) for a, b in sorted(pairs)]
    topology = Topology("any", nodes, tuple(links))
    paths = [_path(draw, topology, ranks) for _ in range(draw.randint(1, 8))]
    lengths = [draw.choice((1, 1, 2, 7)) for _ in range(draw.randint(1, 6))]
    transfers = []
    for t in range(draw.randint(1, 24)):
        after = draw.sample(range(t), min(t, draw.choice((0, 0, 1, 2))))
        transfers.append((draw.randrange(len(lengths)), draw.randrange(len(paths)), after, draw.choice((0, 0, 1))))
    return topology, schedule(topology, lengths, paths, transfers)


def _path(draw: random.Random, topology: Topology, ranks: int) -> list[int]:
    """A walk from one rank to another without repeated switches; through the first switch if it gets lost."""
    src, dst = draw.sample(range(ranks), 2)
    path = [src]
    while len(path) < 4:
        onward = [link.dst for link in topology.links if link.src == path[-1] and link.dst not in path]
        onward = [node for node in onward if node >= ranks or node == dst]
        if not onward:
            break
        path.append(draw.choice(onward))
        if path[-1] == dst:
            return path
    return [src, ranks, dst]
