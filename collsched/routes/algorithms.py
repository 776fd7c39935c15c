"""The flows of well-known algorithms, named on a topology without a plan.

A ring's, a direct exchange's and a tree's connections last as long as the collective, so they are one phase with all of
its bytes. Halving–doubling changes partners at every step: a phase each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from collsched.errors import InputError
from collsched.routes.model import Flows, Phase
from collsched.units import suggest

MOST_FLOWS = 8_000_000


def flows_between(src: Sequence[int], dst: Sequence[int], size: int | Sequence[int]) -> Flows:
    """Flows between these ranks (rank numbers), of one size or of one each, in bytes."""
    sizes = np.broadcast_to(np.asarray(size, np.int64), len(src)).copy()
    return Flows(np.asarray(src, np.int32), np.asarray(dst, np.int32), sizes)


def ring(ranks: Sequence[int], size: int) -> list[Phase]:
    """Allreduce around a ring: 2(n − 1) steps of size / n bytes from each rank to the next."""
    count = len(ranks)
    after = [*ranks[1:], ranks[0]]
    return [Phase("ring", flows_between(ranks, after, -(-2 * (count - 1) * size // count)))]


def direct(ranks: Sequence[int], size: int) -> list[Phase]:
    """All-to-all: every rank sends size / n bytes to every other one."""
    members = np.asarray(ranks, np.int32)
    src, dst = (ends.ravel() for ends in np.meshgrid(members, members, indexing="ij"))
    apart = src != dst
    total = int(apart.sum())
    return [Phase("direct", Flows(src[apart], dst[apart], np.full(total, -(-size // len(ranks)), np.int64)))]


def halving_doubling(ranks: Sequence[int], size: int) -> list[Phase]:
    """Allreduce for 2^q ranks: in step i partners 2^i apart exchange size / 2^(i+1) bytes; then the same backwards."""
    count = len(ranks)
    if count & (count - 1):
        raise InputError(
            f"halving-doubling on {count} ranks; allowed is a power of two; choose {1 << (count.bit_length() - 1)} of "
            "them with --group"
        )
    steps = count.bit_length() - 1
    halving = [
        flows_between(ranks, [ranks[i ^ (1 << step)] for i in range(count)], -(-size // (2 << step)))
        for step in range(steps)
    ]
    names = [f"halving {step}" for step in range(steps)] + [f"doubling {step}" for step in reversed(range(steps))]
    return [Phase(name, flows) for name, flows in zip(names, halving + halving[::-1], strict=True)]


def double_binary_tree(ranks: Sequence[int], size: int) -> list[Phase]:
    """Allreduce along two binary trees with half of the data each, up and down at once. A rank that is within one tree
    is a leaf of the other, mirrored (even n) or shifted (odd n) one (Sanders, Speck, Träff, Two-tree algorithms for
    full bandwidth broadcast, reduction and scan, Parallel Computing 2009).
    """
    count = len(ranks)
    src, dst, sizes = list[int](), list[int](), list[int]()
    for tree, part in enumerate((-(-size // 2), size // 2)):
        for child in range(1, count):
            a, b = child, _parent(child, count)
            if tree:
                a, b = ((count - 1 - i) if count % 2 == 0 else (i + 1) % count for i in (a, b))
            src += [ranks[a], ranks[b]]
            dst += [ranks[b], ranks[a]]
            sizes += [part, part]
    return [Phase("double binary tree", flows_between(src, dst, sizes))]


def _parent(node: int, count: int) -> int:
    """Parent of a node above 0 in the tree whose in-order walk counts upwards; 0 is the root."""
    bit = node & -node
    above = (node ^ bit) | (bit << 1)
    return above if above < count else node ^ bit


ALGORITHMS: Mapping[str, Callable[[Sequence[int], int], list[Phase]]] = MappingProxyType(
    {
        "ring": ring,
        "halving-doubling": halving_doubling,
        "direct": direct,
        "double-binary-tree": double_binary_tree,
    }
)


def algorithm_phases(name: str, ranks: Sequence[int], size: int) -> list[Phase]:
    """The phases of an algorithm on ranks in this order, for a buffer of `size` bytes. Raises InputError."""
    if name not in ALGORITHMS:
        hint = suggest(name, tuple(ALGORITHMS)) or "choose one"
        raise InputError(f"algorithm {name!r} is not known; allowed are {', '.join(ALGORITHMS)}; {hint}")
    if len(set(ranks)) < len(ranks):
        raise InputError("a rank is in the group twice; allowed is each rank once; remove one")
    if name == "direct" and len(ranks) ** 2 > MOST_FLOWS:
        raise InputError(f"direct on {len(ranks)} ranks has more than {MOST_FLOWS:,} flows; choose fewer with --group")
    return ALGORITHMS[name](ranks, size) if len(ranks) > 1 else []


def strided(ranks: Sequence[int], stride: int) -> list[int]:
    """The ranks in steps of `stride`: 0, s, 2s, …, 1, s + 1, …"""
    if not 1 <= stride <= max(len(ranks), 1):
        raise InputError(f"stride is {stride}; allowed is from 1 to the number of ranks, {len(ranks)}; choose another")
    return [rank for first in range(stride) for rank in ranks[first::stride]]
