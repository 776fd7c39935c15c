"""Fabrics and flows that the routing tests share."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from collsched.routes.model import Flows
from collsched.topology.document import Source
from collsched.topology.model import Topology
from collsched.topology.reader import read_topology


def family(text: str) -> Topology:
    """The topology that a family with these arguments makes."""
    return read_topology(f"collsched: topology/1\nname: fabric\nfamily: {{{text}}}\n", Source("fabric.yaml"), {})


def leaf_spine(leaves: int, hosts: int, spines: int, *, faster: int = 1) -> Topology:
    """Leaves with hosts of one port, `faster` times the 100 Gbit/s of the links to spines."""
    return family(
        f"kind: leaf-spine, ranks: {leaves * hosts}, per_leaf: {hosts}, spines: {spines}, bandwidth: {faster * 12.5}, "
        f"oversubscription: {hosts * faster}/{spines}"
    )


def fat_tree(half: int) -> Topology:
    """The k-ary fat tree of k = 2 · half."""
    return family(
        f"kind: fat-tree, ranks: {2 * half**3}, per_edge: {half}, edges: {half}, aggregations: {half}, "
        f"cores: {half * half}, bandwidth: 12.5"
    )


def dragonfly(groups: int) -> Topology:
    """Groups of three fully linked routers with two ranks each, every two groups joined by one link."""
    return family(
        f"kind: dragonfly, ranks: {6 * groups}, per_router: 2, routers: 3, global_links: {-(-(groups - 1) // 3)}, "
        "bandwidth: 12.5, local_bandwidth: 12.5, global_bandwidth: 12.5"
    )


def rails(boxes: int, each: int, spines: int) -> Topology:
    """Rank r of every box on the switch of rail r; spines join the rails at half their bandwidth."""
    return family(
        f"kind: rail, ranks: {boxes * each}, rails: {each}, spines: {spines}, bandwidth: 12.5, oversubscription: 2"
    )


def two_planes(leaves: int, hosts: int, spines: int) -> Topology:
    """Ranks with one port on each of two leaf–spine fabrics, a and b, that nothing joins."""
    ranks = leaves * hosts
    text = "collsched: topology/1\nname: planes\nnodes:\n"
    text += f'  - {{name: "rank[0..{ranks - 1}]", kind: rank}}\n'
    for plane in "ab":
        text += f'  - {{name: "leaf{plane}[0..{leaves - 1}]", kind: switch, plane: {plane}}}\n'
        text += f'  - {{name: "spine{plane}[0..{spines - 1}]", kind: switch, plane: {plane}}}\n'
    text += "links:\n"
    for plane in "ab":
        text += f'  - {{a: "rank[i=0..{ranks - 1}]", b: "leaf{plane}[i // {hosts}]", bandwidth: 25}}\n'
        text += f'  - {{a: "leaf{plane}[0..{leaves - 1}]", b: "spine{plane}[0..{spines - 1}]", bandwidth: 12.5}}\n'
    return read_topology(text, Source("planes.yaml"), {})


def any_fabric(random: np.random.Generator) -> Topology:
    """One of the kinds above, small."""
    leaves, hosts, spines = (int(random.integers(2, most)) for most in (6, 5, 7))
    makers = [
        lambda: leaf_spine(leaves, hosts, spines),
        lambda: leaf_spine(leaves, hosts, spines, faster=4),
        lambda: fat_tree(2),
        lambda: dragonfly(4),
        lambda: rails(4, 4, int(random.integers(1, 4))),
        lambda: two_planes(3, 3, 2),
    ]
    return makers[random.integers(len(makers))]()


def any_flows(random: np.random.Generator, ranks: int) -> Flows:
    """A permutation, an exchange of all pairs, a shift, or random pairs with sizes of their own."""
    size = int(random.integers(10**6, 10**7))
    kind = random.integers(4)
    if kind == 0:
        return permutation(ranks, size, int(random.integers(100)))
    if kind == 1:
        return all_to_all(ranks, size)
    if kind == 2:
        src, shift = np.arange(ranks), int(random.integers(1, ranks))
        return flows(src.tolist(), ((src + shift) % ranks).tolist(), size)
    pairs = random.integers(0, ranks, (int(random.integers(2, 3 * ranks)), 2))
    pairs = np.concatenate([[[0, 1]], pairs[pairs[:, 0] != pairs[:, 1]]])
    return flows(*pairs.T.tolist(), random.integers(10**6, 10**7, len(pairs)).tolist())


def any_failure(random: np.random.Generator, topology: Topology) -> dict[tuple[str, str], Fraction]:
    """One or two links that are out or slower, most of them between switches."""
    kinds = [node.kind for node in topology.nodes]
    links = [link for link in topology.links if random.random() < 0.1 or kinds[link.src] == kinds[link.dst] == "switch"]
    failed = {}
    for _ in range(int(random.integers(1, 3))):
        link = links[random.integers(len(links))]
        share = Fraction(int(random.integers(1, 9)), 10) if random.random() < 0.4 else Fraction(0)
        failed[topology.nodes[link.src].name, topology.nodes[link.dst].name] = link.bandwidth * share
    return failed


def flows(src: Sequence[int], dst: Sequence[int], size: int | Sequence[int]) -> Flows:
    """Flows between ranks, of one size or of one each."""
    sizes = np.broadcast_to(np.array(size, np.int64), len(src)).copy()
    return Flows(np.array(src, np.int32), np.array(dst, np.int32), sizes)


def strided_ring(leaves: int, hosts: int, size: int) -> Flows:
    """One step of a ring whose every hop crosses from a leaf to the next."""
    src = np.arange(leaves * hosts)
    return flows(src.tolist(), ((src + hosts) % (leaves * hosts)).tolist(), size)


def permutation(ranks: int, size: int, seed: int = 0) -> Flows:
    """Every rank sends to another one and receives from one."""
    order = np.random.default_rng(seed).permutation(ranks)
    return flows(order.tolist(), np.roll(order, 1).tolist(), size)


def all_to_all(ranks: int, size: int) -> Flows:
    """Every rank sends to every other one."""
    src, dst = (ends.ravel() for ends in np.meshgrid(np.arange(ranks), np.arange(ranks), indexing="ij"))
    apart = src != dst
    return flows(src[apart].tolist(), dst[apart].tolist(), size)
