"""Fabrics and flows that the routing tests share."""

from __future__ import annotations

from collections.abc import Sequence

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
