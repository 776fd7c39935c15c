"""Random fabrics and random valid forests on them, and a regular one of any size: inputs for checks and lowering."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from collsched.collective import Collective, Kind
from collsched.forest.model import Forest, Routes
from collsched.topology.model import Link, Node, Topology


def fabric(rng: random.Random, ranks: int, switches: int) -> Topology:
    """A strongly connected random fabric: a cycle through all nodes, and as many random links again."""
    nodes = [Node(f"gpu{i}", "rank") for i in range(ranks)] + [Node(f"sw{i}", "switch") for i in range(switches)]
    rng.shuffle(nodes)
    order = rng.sample(range(len(nodes)), len(nodes))
    pairs = {(a, b) for a, b in pairwise([*order, order[0]]) if a != b}
    pairs |= {tuple(rng.sample(order, 2)) for _ in range(len(nodes))} if len(nodes) > 1 else set()
    speeds = [Fraction(25, 2), Fraction(50), Fraction(300)]
    return Topology("random", tuple(nodes), tuple(Link(a, b, rng.choice(speeds)) for a, b in sorted(pairs)))


def able(draw: random.Random, topology: Topology) -> Topology:
    """The fabric with switches that multicast, reduce, do both or neither."""
    share = draw.choice((0.5, 0.8, 1.0))

    def able_node(node: Node) -> Node:
        both = [draw.random() < share for _ in range(2)]
        return node if node.kind == "rank" else replace(node, multicast=both[0], reduce=both[1])

    return replace(topology, nodes=tuple(map(able_node, topology.nodes)))


def collective(rng: random.Random, topology: Topology, kind: Kind, group: tuple[int, ...] | None = None) -> Collective:
    """A random root and random shard sizes where the kind has them."""
    group = group or tuple(range(len(topology.ranks)))
    root = rng.choice(group) if kind.rooted else None
    if kind in (Kind.BROADCAST, Kind.REDUCE):
        assert root is not None
        return Collective(kind, group, (root,), (1,), root)
    shards = tuple(rng.choice((0, 1, 2)) for _ in group[1:])
    return Collective(kind, group, group, (1, *shards), root)


def grow(rng: random.Random, topology: Topology, collective: Collective, *, reverse: bool, k: int) -> Forest:
    """Random trees: routes are searched through switches; a relay stays only if it passes data on: a rank outside the
    group, or a switch at which trees can branch."""
    ranks = set(topology.ranks)
    ranks |= {i for i, node in enumerate(topology.nodes) if (node.reduce if reverse else node.multicast)}
    inside = {topology.ranks[rank] for rank in collective.group}
    gathers = collective.kind in (Kind.GATHER, Kind.SCATTER)
    terminals = {topology.ranks[collective.root]} if gathers else inside  # type: ignore[index]
    hops = _hops(rng, topology, ranks, reverse)
    routes: dict[tuple[int, ...], int] = {}
    roots, multiplicity, ptr, edges = [], [], [0], []
    for owner, weight in zip(collective.owners, collective.shards, strict=True):
        left = k * weight
        while left:
            count = rng.randint(1, left)
            left -= count
            tree = _tree(rng, topology.ranks[owner], terminals, hops)
            edges += [routes.setdefault(path, len(routes)) for _, _, path in tree]
            roots.append(topology.ranks[owner])
            multiplicity.append(count)
            ptr.append(len(edges))
    return pack("in" if reverse else "out", k, roots, multiplicity, ptr, edges, list(routes))


def pack(direction, k, roots, multiplicity, ptr, edges, paths) -> Forest:  # type: ignore[no-untyped-def]
    starts = np.cumsum([0, *(len(path) for path in paths)]).astype(np.int64)
    links = np.array([link for path in paths for link in path], np.int32)
    return Forest(
        direction,
        k,
        np.array(roots, np.int32),
        np.array(multiplicity, np.int64),
        np.array(ptr, np.int64),
        np.array(edges, np.uint32),
        Routes(starts, links),
    )


def _hops(
    rng: random.Random, topology: Topology, ranks: set[int], reverse: bool
) -> dict[int, list[tuple[int, tuple[int, ...]]]]:
    """Rank → the ranks next to it (seen along the tree's growth), each with one physical path in travel order."""
    out: dict[int, list[tuple[int, int]]] = {node: [] for node in range(len(topology.nodes))}
    for i, link in enumerate(topology.links):
        a, b = (link.dst, link.src) if reverse else (link.src, link.dst)
        out[a].append((b, i))
    hops: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for rank in ranks:
        paths: dict[int, tuple[int, ...]] = {rank: ()}
        queue = [rank]
        for node in queue:
            if node != rank and node in ranks:
                continue
            for other, link in rng.sample(out[node], len(out[node])):
                if other not in paths:
                    paths[other] = (*paths[node], link)
                    queue.append(other)
        hops[rank] = [(v, path[::-1] if reverse else path) for v, path in paths.items() if v != rank and v in ranks]
    return hops


def _tree(rng, root, terminals, hops):  # type: ignore[no-untyped-def]
    """Edges (parent, child, path) of a random tree that spans the terminals, idle branches pruned."""
    reached, tree = {root}, []
    while terminals - reached:
        parent = rng.choice([v for v in sorted(reached) if any(w not in reached for w, _ in hops[v])])
        child, path = rng.choice([hop for hop in hops[parent] if hop[0] not in reached])
        reached.add(child)
        tree.append((parent, child, path))
    while idle := [e for e in tree if e[1] not in terminals and all(e[1] != parent for parent, _, _ in tree)]:
        tree = [edge for edge in tree if edge not in idle]
    return tree


def boxes(count: int, size: int) -> tuple[Topology, Forest, Forest]:
    """Boxes of `size` ranks with one switch each, their NICs on one big switch; every root reaches its counterparts in
    the other boxes directly, and each of these its own box. Returns the out-forest and its mirror, the in-forest."""
    n = count * size
    nodes = [Node(f"gpu{i}", "rank") for i in range(n)] + [Node(f"nvs{b}", "switch") for b in range(count)]
    nodes.append(Node("ib", "switch"))
    links, number = [], {}
    for rank in range(n):
        for a, b, speed in ((rank, n + rank // size, 300), (rank, n + count, 25)):
            for src, dst in ((a, b), (b, a)):
                number[src, dst] = len(links)
                links.append(Link(src, dst, Fraction(speed)))
    src, dst = (part.ravel() for part in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    near = src // size == dst // size
    keep = (src != dst) & (near | (src % size == dst % size))
    src, dst, near = src[keep], dst[keep], near[keep]
    up = np.array([[number[r, n + r // size], number[r, n + count]] for r in range(n)], np.int32)
    down = np.array([[number[n + r // size, r], number[n + count, r]] for r in range(n)], np.int32)
    far = (~near).astype(int)
    paths = np.stack([up[src, far], down[dst, far]], axis=1)
    route = np.zeros((n, n), np.uint32)
    route[src, dst] = np.arange(len(src))
    entries = []
    for root in range(n):
        heads = np.arange(count) * size + root % size
        heads = np.concatenate([[root], heads[heads != root]])
        leaves = heads[:, None] // size * size + np.arange(size)
        inner = np.stack([np.repeat(heads, size), leaves.ravel()])
        inner = inner[:, inner[0] != inner[1]]
        entries.append(np.concatenate([np.stack([np.full(len(heads) - 1, root), heads[1:]]), inner], axis=1))
    parent, child = np.concatenate(entries, axis=1)
    ptr, ones = np.arange(n + 1, dtype=np.int64) * (n - 1), np.ones(n, np.int64)
    roots, routes = np.arange(n, dtype=np.int32), Routes(np.arange(len(src) + 1, dtype=np.int64) * 2, paths.ravel())
    topology = Topology(f"{count} boxes of {size}", tuple(nodes), tuple(links))
    out = Forest("out", 1, roots, ones, ptr, route[parent, child], routes)
    return topology, out, Forest("in", 1, roots, ones, ptr, route[child, parent], routes)
