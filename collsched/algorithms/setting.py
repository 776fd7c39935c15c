"""What algorithms look at before they are built, computed once for a topology and a collective."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from collsched.algorithms.grid import Grid, find_grid, merged
from collsched.algorithms.hosts import by_host
from collsched.algorithms.latencies import Floats, latencies
from collsched.algorithms.relaying import Relays
from collsched.algorithms.routing import Router
from collsched.algorithms.tiers import Partition, tiers
from collsched.algorithms.trees import Ints
from collsched.collective import Collective
from collsched.topology.model import Topology


@dataclass(frozen=True)
class Setting:
    """A collective on a topology. Members of the group are numbered by position."""

    topology: Topology
    collective: Collective

    @property
    def members(self) -> int:
        return len(self.collective.group)

    @cached_property
    def root(self) -> int | None:
        """The position of the collective's root."""
        root = self.collective.root
        return None if root is None else self.collective.group.index(root)

    @cached_property
    def router(self) -> Router:
        """For questions about distances; it gives no routes."""
        return Router(self.topology)

    @cached_property
    def relays(self) -> Relays:
        return Relays(self.topology, self.collective)

    @cached_property
    def hosts(self) -> list[list[int]]:
        return by_host(self.topology, self.collective)

    @cached_property
    def order(self) -> list[int]:
        """All members, host by host."""
        return [member for host in self.hosts for member in host]

    @cached_property
    def _between(self) -> tuple[Floats, Ints]:
        return latencies(self.topology, self.collective.group)

    @property
    def latency(self) -> Floats:
        """[members, members] µs of a route between them; infinite where there is none that avoids other ranks."""
        return self._between[0]

    @property
    def links(self) -> Ints:
        """[members, members] of a route between them; 0 where there is none."""
        return self._between[1]

    @cached_property
    def tiers(self) -> list[Partition]:
        return tiers(self.topology, self.collective, self.links)

    @cached_property
    def grids(self) -> list[Grid]:
        """The grid that the group makes, also with pairs of two places as cycles of four; none if it makes none."""
        grid = find_grid(self.topology, self.collective)
        if grid is None:
            return []
        pairs = sum(dimension.extent == 2 for dimension in grid.dimensions)
        return [grid, merged(grid)] if pairs > 1 else [grid]
