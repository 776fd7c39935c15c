"""The algorithms one by one: on what they apply, and in which variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from collsched.algorithms.bruck import bruck
from collsched.algorithms.direct import direct
from collsched.algorithms.double_tree import chained, double_tree, under
from collsched.algorithms.exchange import EXCHANGES
from collsched.algorithms.grid import Grid
from collsched.algorithms.halving_doubling import halving_doubling
from collsched.algorithms.hierarchical import Exchange, hierarchical
from collsched.algorithms.postal import postal
from collsched.algorithms.ring import ring_orders, ring_trees
from collsched.algorithms.scatter_allgather import scatter_allgather
from collsched.algorithms.setting import Setting
from collsched.algorithms.swing import swing
from collsched.algorithms.tiers import Partition
from collsched.algorithms.torus import bucket, copies_of, stepped
from collsched.algorithms.trees import Trees, rooted, together
from collsched.collective import Kind

MOST_PAIRS = 1 << 18  # of ranks that send to each other: every one needs a route, found in some 10 µs
ONE_ROOT = (Kind.BROADCAST, Kind.REDUCE)
MOST_GREEDY = 1 << 14  # ranks that greedy trees have together: each takes some 100 µs to be placed
SEVERAL = (1, 4, 16, 64)  # roots of an allreduce of small messages

Builder = Callable[[], Trees | None]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run an algorithm. `count`: trees that it will have; `trees` may turn out None, where it does not apply
    after all; `rival`: whether it is shown beside plans."""

    name: str
    text: str
    count: int
    trees: Builder
    rival: bool = True


Family = Callable[[Setting], Iterator[Variant]]


def _roots(setting: Setting) -> int:
    """Trees of an algorithm that has one from every member, as far as the collective needs them."""
    return 1 if setting.collective.kind in ONE_ROOT else setting.members


def _name(setting: Setting, name: str, alone: str) -> str:
    """With one root an algorithm goes by another name."""
    return alone if setting.collective.kind.rooted else name


def _by_hosts(setting: Setting, build: Builder) -> Trees | None:
    """Numbered host by host."""
    trees = build()
    return None if trees is None else trees.renumbered(setting.order)


def ring(setting: Setting) -> Iterator[Variant]:
    name = _name(setting, "ring", "chain")
    for cycles in ring_orders(setting):
        text = "one ring" if len(cycles) == 1 else f"{len(cycles)} rings"
        yield Variant(name, text, len(cycles) * _roots(setting), partial(ring_trees, cycles))


def double_binary_tree(setting: Setting) -> Iterator[Variant]:
    """One pair of trees; and several, turned within the hosts as rings are; and several that span the hosts alone."""
    alone = setting.collective.kind in ONE_ROOT and setting.members > 2
    if setting.collective.kind is not Kind.ALLREDUCE and not alone:
        return
    others = np.delete(np.arange(setting.members), [] if setting.root is None else [setting.root])
    hosts = [np.searchsorted(others, [m for m in host if m != setting.root]).tolist() for host in setting.hosts]
    hosts = [host for host in hosts if host]
    turned = [[host[r:] + host[:r] for host in hosts] for r in range(min(map(len, hosts)))]

    def flat(order: Sequence[Sequence[int]]) -> Trees:
        return double_tree(len(others)).renumbered([member for host in order for member in host])

    def build(pair: Callable[[Sequence[Sequence[int]]], Trees], orders: Sequence[Sequence[Sequence[int]]]) -> Trees:
        trees = together([pair(order) for order in orders])
        return trees if setting.root is None else under(trees, setting.root)

    name, pairs = "double-binary-tree", len(turned)
    yield Variant(name, "one pair", 2, partial(build, flat, turned[:1]))
    if len(hosts) > 1 and pairs > 1:
        yield Variant(name, f"{pairs} pairs", 2 * pairs, partial(build, flat, turned))
        yield Variant(name, f"{pairs} pairs over hosts", 2 * pairs, partial(build, chained, turned))


def halving_doubling_family(setting: Setting) -> Iterator[Variant]:
    name = _name(setting, "halving-doubling", "binomial")
    for near_first in (True, False):
        text = "near partners first" if near_first else "far partners first"
        build = partial(halving_doubling, setting.members, near_first=near_first)
        yield Variant(name, text, _roots(setting), partial(_by_hosts, setting, build))


def hierarchical_family(setting: Setting) -> Iterator[Variant]:
    """All levels; and each level alone. Between groups a ring, halving–doubling, Bruck's or direct; within them direct,
    or the same at every level."""
    chains = [setting.tiers] if len(setting.tiers) > 1 else []
    for chain in (*chains, *([tier] for tier in setting.tiers)):
        sizes = _sizes(chain)
        shape = "x".join(map(str, sizes))
        for between in EXCHANGES if sizes[0] > 2 else ("direct",):
            if between == "direct" and sizes[0] * setting.members > MOST_PAIRS:
                continue
            for within in dict.fromkeys(("direct", between)) if sizes[0] > 2 else ("direct", "ring"):
                exchanges = [EXCHANGES[between], *[EXCHANGES[within]] * len(chain)]
                build = partial(hierarchical, chain, exchanges)
                usual = within == "direct" and between != "bruck"
                text = f"{shape}, {between} between, {within} within"
                yield Variant("hierarchical", text, _roots(setting), build, usual)
        if setting.collective.kind in (*ONE_ROOT, Kind.ALLREDUCE):
            yield from _in_one_group(setting, chain, shape)


def _in_one_group(setting: Setting, chain: Sequence[Partition], shape: str) -> Iterator[Variant]:
    """Each member of an innermost group (the root's, if there is one) spreads an equal part of the whole buffer: an
    allreduce of fewer and larger shards; a broadcast through all of the group's ways out."""
    group = chain[-1][setting.root or 0]
    heads = [member for member, other in enumerate(chain[-1]) if other == group]
    for between in ("halving-doubling", "ring") if len(heads) > 1 else ():
        exchanges = [EXCHANGES[between], *[EXCHANGES["direct"]] * len(chain)]
        text = f"{shape}, {between} between, {len(heads)} parts"
        build = partial(_in_parts, setting.root, heads, chain, exchanges)
        yield Variant("hierarchical", text, len(heads), build, setting.root is not None)


def _in_parts(
    root: int | None, heads: Sequence[int], chain: Sequence[Partition], exchanges: Sequence[Exchange]
) -> Trees:
    trees = rooted(hierarchical(chain, exchanges), heads)
    return trees if root is None else scatter_allgather(trees, root)


def _sizes(chain: Sequence[Partition]) -> list[int]:
    """How many groups of each level are in one of the level above, at most; and members in the innermost ones."""
    everyone = len(chain[0])
    sizes = []
    for outer, inner in pairwise([(0,) * everyone, *chain, tuple(range(everyone))]):
        above = [group for group, _ in set(zip(outer, inner, strict=True))]
        sizes.append(int(np.bincount(above).max()))
    return sizes


def grid(setting: Setting) -> Iterator[Variant]:
    for found in setting.grids:
        shape = "x".join(map(str, found.extents))
        closed = any(dimension.shape == "cycle" for dimension in found.dimensions)
        for half in (False, True) if closed else (False,):
            for copies in (copies_of(found), 1):
                way = ", both ways at once" if half else ""
                text = f"{shape}{way}, {copies} at once"
                build: Builder = partial(bucket, found, half=half, copies=copies)
                yield Variant("bucket", text, copies * _roots(setting), build)
        yield from _stepped(setting, found, shape)


def _stepped(setting: Setting, found: Grid, shape: str) -> Iterator[Variant]:
    if all(extent & (extent - 1) == 0 for extent in found.extents):
        for name, swinging in (("grid-halving-doubling", False), ("grid-swing", True)):
            copies = copies_of(found) if swinging else len(found.dimensions)
            yield Variant(name, shape, copies * _roots(setting), partial(stepped, found, swinging=swinging), False)


def scatter_allgather_family(setting: Setting) -> Iterator[Variant]:
    root = setting.root
    if root is None or setting.collective.kind not in ONE_ROOT or setting.members < 3:
        return
    name = "scatter-allgather" if setting.collective.kind is Kind.BROADCAST else "reduce-scatter-gather"
    cycles = ring_orders(setting)[0]

    def over_ring() -> Trees:
        return scatter_allgather(ring_trees(cycles), root)

    def doubled() -> Trees:
        return scatter_allgather(halving_doubling(setting.members, near_first=False).renumbered(setting.order), root)

    yield Variant(name, "ring", setting.members, over_ring)
    yield Variant(name, "halving-doubling", setting.members, doubled)


def direct_family(setting: Setting) -> Iterator[Variant]:
    if _roots(setting) * setting.members <= MOST_PAIRS:
        yield Variant("direct", "", _roots(setting), partial(direct, setting.members))


def swing_family(setting: Setting) -> Iterator[Variant]:
    if setting.members > 3:
        build = partial(_by_hosts, setting, partial(swing, setting.members))
        yield Variant("swing", "", _roots(setting), build, False)


def bruck_family(setting: Setting) -> Iterator[Variant]:
    for radix in (2, 4, 8):
        if radix == 2 or radix**2 <= setting.members:
            build = partial(_by_hosts, setting, partial(bruck, setting.members, radix=radix))
            yield Variant("bruck", f"radix {radix}", _roots(setting), build, False)


def postal_family(setting: Setting) -> Iterator[Variant]:
    """From the root; for an allreduce from the rank that is nearest to the others, and from several."""
    if setting.collective.kind not in (*ONE_ROOT, Kind.ALLREDUCE):
        return
    one = int(np.argmin(setting.latency.sum(axis=1))) if setting.root is None else setting.root
    for count in SEVERAL if setting.root is None else (1,):
        if count > 1 and not 2 * count <= setting.members <= MOST_GREEDY // count:
            continue
        roots = [(one + i * setting.members // count) % setting.members for i in range(count)]
        for tier in (None, *setting.tiers):
            text = "one root" if count == 1 else f"{count} roots"
            text += "" if tier is None else f", {len(set(tier))} groups first"
            yield Variant("postal", text, count, partial(_postal, setting, roots, tier), False)


def _postal(setting: Setting, roots: Sequence[int], tier: Partition | None) -> Trees | None:
    return postal(setting.latency, roots, tier)


FAMILIES: tuple[Family, ...] = (
    ring,
    double_binary_tree,
    halving_doubling_family,
    hierarchical_family,
    grid,
    scatter_allgather_family,
    direct_family,
    swing_family,
    bruck_family,
    postal_family,
)
