"""Which flow takes which path: the four modes, and the numbers beside each answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Literal

import numpy as np

from collsched.errors import InputError, VerificationError
from collsched.routes.bounds import TIGHT, best_cut, spray_seconds
from collsched.routes.check import Extents, Routing, check_routing
from collsched.routes.exact import Found, merge, perfect, tidy, within
from collsched.routes.model import Flows, PathTable, Subflows, join, whole
from collsched.routes.network import GIGA, Network
from collsched.routes.per_source import per_source
from collsched.routes.program import MOST_VARIABLES, Commodities, solve
from collsched.routes.replan import replan
from collsched.routes.whole import choosers_of, route_whole
from collsched.topology.model import Topology

Mode = Literal["nosplit", "exact", "epsilon", "per-source"]
MODES: tuple[Mode, ...] = ("nosplit", "exact", "epsilon", "per-source")


@dataclass(frozen=True)
class RoutePlan:
    """Subflows that carry every flow, and what is known about them. Times in seconds, exact."""

    network: Network
    subflows: Subflows
    congestion: Fraction  # the largest time of a link
    spray: Fraction  # what ideal spraying needs, U*; a proven lower limit of it unless `spray_known`
    spray_known: bool
    lower_bound_splits: int
    method: str
    kept: bool  # the mode's promise: no link beyond what it allows

    @property
    def splits(self) -> int:
        """Cuts: pieces beyond one a flow."""
        return len(self.subflows) - len(self.network.flows)


def plan_flows(
    topology: Topology,
    flows: Flows,
    *,
    mode: Mode = "exact",
    epsilon: Fraction = Fraction(1, 20),
    max_pieces: int | None = None,
    failed: Mapping[int, Fraction] | None = None,
) -> RoutePlan:
    """Paths for flows that start together; checked by `routes.check` before it is returned.

    nosplit: every flow whole. exact: the congestion of ideal spraying, with few pieces. epsilon: at most (1 + epsilon)
    times that, with fewer, and at most `max_pieces` subflows. per-source: each source cuts for itself, for comparison.
    `failed` gives links (by id) other rates in GB/s, 0 for those that are out: the plan is made without the failures,
    which keeps the fabric uniform, and then mended.
    """
    return plan_network(Network.of(topology, flows), mode=mode, epsilon=epsilon, max_pieces=max_pieces, failed=failed)


def plan_network(
    network: Network,
    *,
    mode: Mode = "exact",
    epsilon: Fraction = Fraction(1, 20),
    max_pieces: int | None = None,
    failed: Mapping[int, Fraction] | None = None,
) -> RoutePlan:
    """As `plan_flows`, where the paths that flows may take are known."""
    flows, base = network.flows, None
    if failed:
        healthy = route_whole(network)
        mended = replan(network, healthy, failed, split=mode != "nosplit")
        network, base = mended.network, mended.subflows
        if int(flows.bytes.min(initial=1)) == 0:
            base = _with_empty(network, base)
        if mode == "nosplit":
            base = min(base, route_whole(network), key=lambda one: network.congestion(network.loads(one)))
    bound = best_cut(network).seconds
    found, kept = _by_mode(network, base, bound, mode, epsilon, max_pieces)
    return finish(network, found, kept)


def _with_empty(network: Network, subflows: Subflows) -> Subflows:
    """With a subflow for each flow without bytes."""
    empty = np.flatnonzero(network.flows.bytes == 0)
    return join([subflows, whole(network.flows, network.paths.begin[network.paths.pair]).take(empty)]).in_order()


def _by_mode(
    network: Network, base: Subflows | None, bound: Fraction, mode: Mode, epsilon: Fraction, max_pieces: int | None
) -> tuple[Found, bool]:
    """The mode's routing, and whether it keeps what the mode promises. `base`: where to start; whole flows by
    default."""
    if mode == "per-source":
        return Found(per_source(network), bound, "each source for itself"), True
    base = route_whole(network) if base is None else base
    if mode == "nosplit":
        return Found(base, bound, "no split"), True
    if mode == "exact":
        found = perfect(network, base, bound)
        return found, within(network, found.subflows, found.proven)
    return _within_epsilon(network, base, bound, epsilon, max_pieces)


def _within_epsilon(
    network: Network, base: Subflows, bound: Fraction, epsilon: Fraction, max_pieces: int | None
) -> tuple[Found, bool]:
    """The fewest pieces found within (1 + epsilon) of the optimum; the least congestion where the limit on pieces
    forbids."""
    if epsilon < 0:
        raise InputError(f"epsilon is {epsilon}; allowed is 0 or more; write for example 0.05")
    if max_pieces is not None and max_pieces < len(network.flows):
        raise InputError(
            f"at most {max_pieces} pieces for {len(network.flows)} flows; allowed is a piece for each flow at "
            "least; raise it"
        )
    exact = perfect(network, base, bound)
    limit = exact.proven * (1 + epsilon)
    uncut = base if len(base) == len(network.flows) else route_whole(network)
    tries = [Found(uncut, exact.proven, "no split"), exact]
    tries.append(Found(merge(network, exact.subflows, limit), exact.proven, "pieces of the optimum merged"))
    if not within(network, uncut, limit):
        tries += [
            Found(cut, exact.proven, "flows cut evenly") for cut in _cut_evenly(network, limit, exact.proven * epsilon)
        ]
    allowed = [one for one in tries if max_pieces is None or len(one.subflows) <= max_pieces]
    good = [one for one in allowed if within(network, one.subflows, limit)]
    if good:
        return min(good, key=lambda one: len(one.subflows)), True
    return min(allowed, key=lambda one: network.congestion(network.loads(one.subflows))), False


def _cut_evenly(network: Network, limit: Fraction, grain: Fraction) -> list[Subflows]:
    """The first of ever finer cuts whose pieces, routed whole, stay within the limit (T3); none where that takes pieces
    shorter than `grain` seconds."""
    rate = float(np.median(network.rate))
    largest, least = int(network.flows.bytes.max()), max(float(grain) * rate, 1.0)
    parts = 2
    while largest / parts >= least and parts <= 64:
        most = -(-largest // parts)
        counts = np.maximum(-(-network.flows.bytes // most), 1)
        owner = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        size = network.flows.bytes[owner]
        begin, end = number * size // counts[owner], (number + 1) * size // counts[owner]
        pieces = Flows(network.flows.src[owner], network.flows.dst[owner], end - begin)
        paths = network.paths
        table = PathTable(paths.pair[owner], paths.begin, paths.node_ptr, paths.nodes, paths.chance)
        routed = route_whole(Network(network.wires, pieces, table))
        found = tidy(Subflows(owner, begin, end - begin, routed.path))
        if within(network, found, limit):
            return [found]
        parts *= 2
    return []


def finish(network: Network, found: Found, kept: bool) -> RoutePlan:
    """The answer with its numbers, after the judge has accepted it."""
    subflows = found.subflows.in_order()
    congestion = check(network, subflows)
    spray, known = _spray(network, found, subflows)
    if spray > congestion and not within(network, subflows, spray):
        raise VerificationError(f"a routing of {congestion} s beats its bound of {spray} s; please report this")
    return RoutePlan(network, subflows, congestion, spray, known, least_splits(network, spray), found.method, kept)


def answer(network: Network, subflows: Subflows, congestion: Fraction, method: str) -> RoutePlan:
    """The numbers of a routing that was judged elsewhere; its promise is to be as good as spraying, where that is
    known."""
    spray, known = _spray(network, Found(subflows, best_cut(network).seconds, method), subflows)
    return RoutePlan(network, subflows, congestion, spray, known, least_splits(network, spray), method, True)


def check(network: Network, subflows: Subflows, extents: Subflows | None = None) -> Fraction:
    """The congestion that the judge finds. Raises VerificationError."""
    flows = network.flows
    needed = Extents(
        np.arange(len(flows)), flows.src, flows.dst, np.zeros(len(flows), np.int64), flows.bytes
    ) if extents is None else Extents(
        extents.flow, flows.src[extents.flow], flows.dst[extents.flow], extents.offset, extents.bytes
    )  # fmt: skip
    used, path = np.unique(subflows.path, return_inverse=True)
    routing = Routing(
        subflows.flow, flows.src[subflows.flow], flows.dst[subflows.flow], subflows.offset, subflows.bytes, path,
        [network.paths.interior(number) for number in used.tolist()],
    )  # fmt: skip
    return check_routing(network.judged, needed, routing).congestion


def _spray(network: Network, found: Found, subflows: Subflows) -> tuple[Fraction, bool]:
    """U*, or a proven limit of it: met by the plan, met by spraying in proportion, or the whole program's optimum."""
    proven = found.proven
    if within(network, subflows, proven) or spray_seconds(network) <= float(proven) * (1 + TIGHT):
        return proven, True
    choosers = choosers_of(network)
    parts = Subflows(choosers, np.zeros(len(choosers), np.int64), network.flows.bytes[choosers], choosers)
    commodities = Commodities.of(network, parts)
    if commodities.variables > MOST_VARIABLES:
        return proven, False
    alone = np.setdiff1d(np.arange(len(network.flows)), choosers)
    single = network.paths.begin[network.paths.pair[alone]]
    fixed = network.loads(Subflows(alone, np.zeros(len(alone), np.int64), network.flows.bytes[alone], single))
    vertex = solve(network, commodities, fixed)
    return max(proven, vertex.proven), vertex.seconds <= float(max(proven, vertex.proven)) * (1 + 1e-6)


def least_splits(network: Network, seconds: Fraction) -> int:
    """Cuts that every routing within `seconds` needs, as far as is known.

    A flow longer than its widest path carries in that time is cut; and of equal flows, a switch whose D flows must
    fill each of its s links needs s − gcd(D, s) cuts (see `routes.wrap`), or s − gcd(D, w) where the links have w equal
    units of bandwidth together.
    """
    if not seconds:
        return 0
    return max(_too_long(network, seconds), _at_tight_switches(network, seconds))


def _too_long(network: Network, seconds: Fraction) -> int:
    ptr, links = network.inner
    widest = np.zeros(len(network.paths.begin) - 1, np.int64)
    hops = np.diff(ptr)
    narrow = np.full(len(hops), np.iinfo(np.int64).max)
    some = np.flatnonzero(hops)
    if len(some):
        narrow[some] = np.minimum.reduceat(network.capacity[links], ptr[:-1][some])
    widest = np.maximum.reduceat(narrow, network.paths.begin[:-1])
    cuts = 0
    pairs = network.paths.pair
    sizes, counts = np.unique(np.stack([widest[pairs], network.flows.bytes]), axis=1, return_counts=True)
    for (width, size), count in zip(sizes.T.tolist(), counts.tolist(), strict=True):
        room = seconds * width * GIGA / network.unit
        if 0 < room < size:
            cuts += (-(-Fraction(size) // room) - 1) * count
    return int(cuts)


def _at_tight_switches(network: Network, seconds: Fraction) -> int:
    """Over first switches, and over last ones: a flow has one of each, so cuts at different ones add up."""
    choosers = choosers_of(network)
    if not len(choosers) or len(set(network.flows.bytes[choosers].tolist())) > 1:
        return 0
    size = int(network.flows.bytes[choosers[0]])
    pair = network.paths.pair[choosers]
    ptr, links = network.inner
    most = 0
    begin = network.paths.begin
    for ends, column in ((network.first, 0), (network.last, -1)):
        flows_of: dict[int, int] = {}
        links_of: dict[int, set[int]] = {}
        for number, count in enumerate(np.bincount(pair, minlength=len(begin) - 1).tolist()):
            low, high = int(begin[number]), int(begin[number + 1])
            if not count or ptr[low] == ptr[low + 1] or len(set(ends[low:high].tolist())) > 1:
                continue
            switch = int(ends[low])
            flows_of[switch] = flows_of.get(switch, 0) + count
            hops = links[ptr[low] : ptr[high]].reshape(high - low, -1)[:, column]
            links_of.setdefault(switch, set()).update(hops.tolist())
        most = max(most, sum(_needed(network, links_of[at], flows_of[at], size, seconds) for at in flows_of))
    return most


def _needed(network: Network, links: set[int], flows: int, size: int, seconds: Fraction) -> int:
    """Cuts at a switch whose links are all full then. A connected component of its flow–link graph fills its links
    with whole flows, so its share of the bandwidth is a multiple of 1 / gcd: there are at most gcd of them."""
    capacities = [int(network.capacity[link]) for link in links]
    room = seconds * sum(capacities) * GIGA / network.unit
    widths = sum(capacities) // gcd(*capacities)
    return max(0, len(links) - gcd(flows, widths)) if room == flows * size else 0
