"""Shortest routes between ranks: through as few links as possible, balanced among equals.

A route passes through switches only. Among those with the fewest links the one is taken whose fullest link is least
full, counted in routes already given per unit of bandwidth; then the one whose links are least full together; then the
one whose links come first in the topology. A switch is reached in the way that is best so far, so that on routes of
three and more switches the balance is a good one, not always the best. Routes are given in the order in which they are
asked for: equal questions have equal answers.
"""

from __future__ import annotations

import numpy as np

from collsched.forest.model import Routes
from collsched.topology.model import Topology

_Way = tuple[float, float, tuple[int, ...]]  # the fullest link, all links together, the links


class Router:
    """Gives each ordered pair of ranks one route, and remembers it."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._rank = [node.kind == "rank" for node in topology.nodes]
        self._switches: list[list[tuple[int, int]]] = [[] for _ in topology.nodes]  # (link, switch that it leads to)
        self._ranks: list[dict[int, int]] = [{} for _ in topology.nodes]  # rank's node → the link that leads to it
        for number, link in enumerate(topology.links):
            if self._rank[link.dst]:
                self._ranks[link.src][link.dst] = number
            else:
                self._switches[link.src].append((number, link.dst))
        self._weight = [1 / float(link.bandwidth) for link in topology.links]
        self._load = [0.0] * len(topology.links)
        self._numbers: dict[tuple[int, int], int | None] = {}
        self._paths: list[list[int]] = []
        self._hops: dict[int, dict[int, int]] = {}
        self._entries: list[list[int]] = [[] for _ in topology.nodes]  # switches with a link to a node
        for link in topology.links:
            if not self._rank[link.src]:
                self._entries[link.dst].append(link.src)
        self._toward: dict[tuple[int, ...], dict[int, int]] = {}

    def route(self, src: int, dst: int) -> int | None:
        """The number of the route from rank `src` to rank `dst`; None where every path passes through a rank."""
        pair = (src, dst)
        if pair not in self._numbers:
            path = self._find(self._topology.ranks[src], self._topology.ranks[dst])
            self._numbers[pair] = None if path is None else len(self._paths)
            if path is not None:
                self._paths.append(path)
                for link in path:
                    self._load[link] += self._weight[link]
        return self._numbers[pair]

    def hops(self, src: int) -> dict[int, int]:
        """The number of links to each rank that a route from rank `src` reaches."""
        if src not in self._hops:
            start, rank_of = self._topology.ranks[src], self._topology.rank_of
            reached, seen, layer, far = {start: 0}, {start}, [start], 0
            while layer:
                far += 1
                for node in layer:
                    for rank in self._ranks[node].keys() - reached.keys():
                        reached[rank] = far
                layer = list({after for node in layer for _, after in self._switches[node]} - seen)
                seen.update(layer)
            self._hops[src] = {rank_of[node]: far for node, far in reached.items()}
        return self._hops[src]

    def routes(self) -> Routes:
        """All routes given so far, by number."""
        ptr = np.cumsum([0, *map(len, self._paths)])
        return Routes(ptr, np.array([link for path in self._paths for link in path], np.int32))

    def _find(self, start: int, goal: int) -> list[int] | None:
        """Switch by switch towards the goal, with the least full way into every one."""
        if goal in self._ranks[start]:
            return [self._ranks[start][goal]]
        distance = self._distances(goal)
        far = min((distance[after] for _, after in self._switches[start] if after in distance), default=None)
        if far is None:
            return None
        best: dict[int, _Way] = {start: (0.0, 0.0, ())}
        for left in range(far, 0, -1):
            ways: dict[int, _Way] = {}
            for node, way in best.items():
                for link, after in self._switches[node]:
                    if distance.get(after) == left:
                        longer = self._extended(way, link)
                        if after not in ways or longer < ways[after]:
                            ways[after] = longer
            best = ways
        return list(min(self._extended(way, self._ranks[node][goal]) for node, way in best.items())[2])

    def _distances(self, goal: int) -> dict[int, int]:
        """The number of links from every switch to a rank's node, through switches only."""
        entries = tuple(self._entries[goal])
        if entries not in self._toward:
            distance, layer, far = dict.fromkeys(entries, 1), list(entries), 1
            while layer:
                far += 1
                layer = list({before for node in layer for before in self._entries[node]} - distance.keys())
                distance.update(dict.fromkeys(layer, far))
            self._toward[entries] = distance
        return self._toward[entries]

    def _extended(self, way: _Way, link: int) -> _Way:
        fullest, together, path = way
        fullness = self._load[link] + self._weight[link]
        return max(fullest, fullness), together + fullness, (*path, link)
