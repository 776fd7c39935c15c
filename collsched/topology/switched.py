"""Families whose ends are linked to switches.

`oversubscription` is downlink over uplink bandwidth at a tier: 1 is non-blocking, 2 halves the bandwidth
upwards. Every switch has the uplinks of a full one, even where fewer ends than ports are attached.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random

from collsched.errors import InputError
from collsched.topology.builder import Builder
from collsched.topology.direct import ONE, Bandwidth, Latency, random_edges, random_level

Ratio = Fraction

MAX_GLOBAL_LINKS = 1024  # of one router


@dataclass(frozen=True, slots=True)
class LeafSpine:
    """Two tiers: `per_leaf` consecutive ends on each leaf, every leaf linked to every spine.

        spine0   spine1
          | \\     / |
        leaf0     leaf1
        / | \\     / | \\

    One leaf alone has no spines.
    """

    per_leaf: int
    spines: int
    bandwidth: Bandwidth
    oversubscription: Ratio = ONE
    latency: Latency = ONE

    @property
    def size(self) -> int | None:
        return None

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        leaves = attach(self, builder, ends, self.per_leaf, "leaf", line)
        if len(leaves) > 1:
            spines = switches(builder, "spine", self.spines, line)
            up = self.per_leaf * self.bandwidth / ratio(self.oversubscription)
            join(builder, leaves, spines, up / len(spines), self.latency)


@dataclass(frozen=True, slots=True)
class FatTree:
    """Three tiers: edges with `per_edge` ends, pods of `edges` edge and `aggregations` aggregation switches,
    and `cores`.

    Aggregation switch j of every pod is linked to the same cores / aggregations cores. With per_edge = edges
    = aggregations = k/2 and (k/2)² cores this is the k-ary fat tree. `oversubscription` thins the edges'
    uplinks, `core_oversubscription` those of the aggregation switches. One edge alone has no upper tiers, one
    pod alone no cores.
    """

    per_edge: int
    edges: int
    aggregations: int
    cores: int
    bandwidth: Bandwidth
    oversubscription: Ratio = ONE
    core_oversubscription: Ratio = ONE
    latency: Latency = ONE

    @property
    def size(self) -> int | None:
        return None

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        """Pods of edge switches, each joined to one aggregation switch of every plane; cores join those of a plane."""
        edges = attach(self, builder, ends, self.per_edge, "edge", line)
        if len(edges) == 1:
            return
        at_least_one(self.edges, "edges")
        at_least_one(self.aggregations, "aggregations")
        if self.cores < self.aggregations or self.cores % self.aggregations:
            raise InputError(
                f"{self.cores} cores on {self.aggregations} aggregation switches; allowed is a multiple; adjust 'cores'"
            )
        up = self.per_edge * self.bandwidth / ratio(self.oversubscription)
        planes: list[list[int]] = [[] for _ in range(self.aggregations)]
        for pod, first in enumerate(range(0, len(edges), self.edges)):
            upper = [
                builder.node(f"pod{pod}/aggregation{plane}", "switch", line=line, plane=f"plane{plane}")
                for plane in range(self.aggregations)
            ]
            join(builder, edges[first : first + self.edges], upper, up / self.aggregations, self.latency)
            for switches_of_plane, switch in zip(planes, upper, strict=True):
                switches_of_plane.append(switch)
        if len(planes[0]) == 1:
            return
        width = self.edges * up / ratio(self.core_oversubscription) / self.cores
        each = self.cores // self.aggregations
        for plane, uppers in enumerate(planes):
            cores = switches(builder, "core", each, line, first=plane * each, plane=f"plane{plane}")
            join(builder, uppers, cores, width, self.latency)


@dataclass(frozen=True, slots=True)
class Rail:
    """One switch a rail: end i is on rail i mod `rails`. With `spines` above 0, the rails are joined by that
    many spines.

        spine0
        /    \\
      rail0  rail1        rails alone (spines 0): only ends of equal index meet
       | |    | |
    """

    rails: int
    bandwidth: Bandwidth
    spines: int = 0
    oversubscription: Ratio = ONE
    latency: Latency = ONE

    @property
    def size(self) -> int | None:
        return None

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        at_least_one(self.rails, "rails")
        if self.spines < 0:
            raise InputError(f"spines is {self.spines}; allowed is 0 or more; use 0 for rails alone")
        rails = [builder.node(f"rail{i}", "switch", line=line, rail=f"rail{i}") for i in range(self.rails)]
        for position, end in enumerate(ends):
            builder.both(end, rails[position % self.rails], self.bandwidth, self.latency)
        if self.spines and self.rails > 1:
            per_rail = -(-len(ends) // self.rails)
            up = per_rail * self.bandwidth / ratio(self.oversubscription)
            join(builder, rails, switches(builder, "spine", self.spines, line), up / self.spines, self.latency)


@dataclass(frozen=True, slots=True)
class Dragonfly:
    """Groups of `routers` fully linked routers with `per_router` ends each; the groups are fully linked by
    global links.

    Every router has `global_links` of them, dealt out evenly over the pairs of groups: a pair gets routers ·
    global_links / (groups - 1) links, rounded down (Kim et al., Technology-Driven, Highly-Scalable Dragonfly
    Topology, ISCA 2008).
    """

    per_router: int
    routers: int
    global_links: int
    bandwidth: Bandwidth
    local_bandwidth: Bandwidth
    global_bandwidth: Bandwidth
    latency: Latency = ONE

    @property
    def size(self) -> int | None:
        return None

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        at_least_one(self.routers, "routers")
        groups = -(-len(ends) // (at_least_one(self.per_router, "per_router") * self.routers))
        routers = [
            [builder.node(f"group{group}/router{i}", "switch", line=line) for i in range(self.routers)]
            for group in range(groups)
        ]
        flat = [router for group in routers for router in group]
        for position, end in enumerate(ends):
            builder.both(end, flat[position // self.per_router], self.bandwidth, self.latency)
        for group in routers:
            for i, router in enumerate(group):
                for other in group[i + 1 :]:
                    builder.both(router, other, self.local_bandwidth, self.latency)
        if groups > 1:
            self._join_groups(builder, routers)

    def _join_groups(self, builder: Builder, routers: list[list[int]]) -> None:
        others = len(routers) - 1
        if not 1 <= self.global_links <= MAX_GLOBAL_LINKS:
            raise InputError(
                f"global_links is {self.global_links}; allowed is from 1 to {MAX_GLOBAL_LINKS}; it is per router"
            )
        rounds = self.routers * self.global_links // others
        if rounds < 1:
            raise InputError(
                f"{self.routers * self.global_links} global links for {others} groups; allowed is at least one each; "
                "raise 'routers' or 'global_links'"
            )
        for a in range(len(routers)):
            for b in range(a + 1, len(routers)):
                for turn in range(rounds):  # the d-th group ahead is on the (d-1)-th port of a turn
                    here = (turn * others + b - a - 1) // self.global_links
                    there = (turn * others + others - b + a) // self.global_links
                    builder.both(routers[a][here], routers[b][there], self.global_bandwidth, self.latency)


@dataclass(frozen=True, slots=True)
class RandomSwitched:
    """`switches` switches in a connected random graph of mean degree `degree`; end i is on switch i mod `switches`.

    A link between switches has 1 to `levels` times `trunk`, the same both ways.
    """

    switches: int
    degree: int
    bandwidth: Bandwidth
    trunk: Bandwidth
    levels: int = 4
    seed: int = 0
    latency: Latency = ONE

    @property
    def size(self) -> int | None:
        return None

    def build(self, builder: Builder, ends: list[int], line: int) -> None:
        random = Random(self.seed)
        fabric = switches(builder, "switch", self.switches, line)
        for position, end in enumerate(ends):
            builder.both(end, fabric[position % len(fabric)], self.bandwidth, self.latency)
        for a, b in random_edges(random, len(fabric), self.degree):
            builder.both(fabric[a], fabric[b], self.trunk * random_level(random, self.levels), self.latency)


def at_least_one(value: int, name: str) -> int:
    """Raises InputError below 1."""
    if value < 1:
        raise InputError(f"{name} is {value}; allowed is at least 1; raise it")
    return value


def ratio(value: Fraction) -> Fraction:
    """An oversubscription that can be divided by. Raises InputError."""
    if value <= 0:
        raise InputError(f"oversubscription is {value}; allowed is more than 0; 1 is non-blocking")
    return value


def switches(
    builder: Builder, name: str, count: int, line: int, *, first: int = 0, plane: str | None = None
) -> list[int]:
    """New switches `name0`, `name1`, …. Raises InputError."""
    at_least_one(count, f"number of {name} switches")
    return [builder.node(f"{name}{first + i}", "switch", line=line, plane=plane) for i in range(count)]


def join(builder: Builder, lower: list[int], upper: list[int], bandwidth: Fraction, latency: Fraction) -> None:
    """Link every lower switch to every upper one, both ways."""
    for low in lower:
        for high in upper:
            builder.both(low, high, bandwidth, latency)


def attach(
    family: LeafSpine | FatTree, builder: Builder, ends: list[int], each: int, name: str, line: int
) -> list[int]:
    """Lowest-tier switches with `each` consecutive ends on every one."""
    at_least_one(each, f"per_{name}")
    lowest = switches(builder, name, -(-len(ends) // each), line)
    for position, end in enumerate(ends):
        builder.both(end, lowest[position // each], family.bandwidth, family.latency)
    return lowest
