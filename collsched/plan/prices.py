"""The judge of an all-to-all's bound: prices of links, evaluated exactly, sharing nothing with what found them."""

from __future__ import annotations

import heapq
from fractions import Fraction

from collsched.collective import Collective
from collsched.errors import VerificationError
from collsched.forest.check import ForestReport
from collsched.forest.optimum import Optimum
from collsched.topology.model import Topology


def check_prices(topology: Topology, collective: Collective, optimum: Optimum, report: ForestReport) -> None:
    """Every unit from s to t pays at least the cheapest path between them, and links can earn at most price × bandwidth
    (docs/algorithms.md, lemma 12). Raises VerificationError unless that proves the ratio."""
    count = len(collective.group)
    if any(size and shard // count != shard % count for shard, size in enumerate(collective.shards)):
        found = _proven(topology, collective, optimum.prices or ())
        if found != optimum.ratio:
            raise VerificationError(f"the prices of the links prove the ratio {found}, not {optimum.ratio}")
    elif optimum.ratio != 0:
        raise VerificationError(f"the bound {optimum.ratio} is claimed where nothing has to move")
    if report.ratio < optimum.ratio:
        raise VerificationError(
            f"the paths' ratio {report.ratio} beats the bound {optimum.ratio}: one of them is wrong"
        )


def _proven(topology: Topology, collective: Collective, prices: tuple[int, ...]) -> Fraction:
    """Σ size · cheapest path over all pairs / Σ price · bandwidth, in 1/(GB/s)."""
    if len(prices) != len(topology.links):
        raise VerificationError(f"{len(topology.links)} links have {len(prices)} prices, so they prove nothing")
    earned = sum((price * link.bandwidth for price, link in zip(prices, topology.links, strict=True)), Fraction(0))
    if min(prices) < 0 or earned == 0:
        raise VerificationError("the prices of the links are negative, or none is positive, so they prove nothing")
    leaving: list[list[tuple[int, int]]] = [[] for _ in topology.nodes]
    for link, price in zip(topology.links, prices, strict=True):
        leaving[link.src].append((link.dst, price))
    group = [topology.ranks[rank] for rank in collective.group]
    paid, count = 0, len(group)
    for place, source in enumerate(group):
        cheapest = _cheapest(leaving, source)
        for target, size in zip(group, collective.shards[place * count : (place + 1) * count], strict=True):
            if size and target not in cheapest:
                names = topology.nodes[source].name, topology.nodes[target].name
                raise VerificationError(f"{names[0]} does not reach {names[1]}")
            paid += size * cheapest.get(target, 0)
    return paid / earned


def _cheapest(leaving: list[list[tuple[int, int]]], source: int) -> dict[int, int]:
    """Node → price of the cheapest path from the source (Dijkstra 1959)."""
    settled: dict[int, int] = {}
    queue = [(0, source)]
    while queue:
        price, node = heapq.heappop(queue)
        if node in settled:
            continue
        settled[node] = price
        for head, step in leaving[node]:
            if head not in settled:
                heapq.heappush(queue, (price + step, head))
    return settled
