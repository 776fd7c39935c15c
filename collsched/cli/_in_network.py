"""What switches that copy and sum data are worth: the limits of a collective without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from collsched.cli import _common as common
from collsched.cli import _views as views
from collsched.cli._allreduce import best_trees
from collsched.cli._limits import Limit, limit
from collsched.collective import Collective, Kind
from collsched.forest.optimum import optimum
from collsched.forest.problem import directions, problem
from collsched.topology.model import Topology

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.forest.joint import Ways


@dataclass(frozen=True, slots=True)
class Without:
    """The limit of a collective if `switches`, which can copy or sum data, only forwarded it."""

    switches: tuple[int, ...]
    proven: Limit
    trees: Ways | None

    @property
    def reached(self) -> float | None:
        """The rate in GB/s that trees are known to reach."""
        if self.trees is not None:
            return None if self.trees.rate is None else float(self.trees.rate)
        return common.algbw(self.proven.weight, self.proven.reached_ratio)


def without(topology: Topology, collective: Collective) -> Without | None:
    """None if all switches only forward, or none of them could help."""
    switches = topology.holders[len(topology.ranks) :]
    if not switches or collective.kind is Kind.ALL_TO_ALL:
        return None
    plain = topology.without_in_network()
    phases = [optimum(problem(plain, collective, reverse=reverse)) for reverse in directions(collective.kind)]
    proven = limit(plain, collective, phases)
    return Without(switches, proven, best_trees(plain, proven))


def summarise(topology: Topology, found: Without) -> dict[str, Any]:
    """What `--json` prints, in GB/s."""
    return {
        "switches": [topology.nodes[node].name for node in found.switches],
        "without": {
            "bound_algbw_GBps": common.algbw(found.proven.weight, found.proven.bound.ratio),
            "reached_algbw_GBps": found.reached,
        },
    }


def show(console: Console, topology: Topology, found: Without) -> None:
    nodes = [topology.nodes[node] for node in found.switches]
    abilities = [word for word, can in (("multicast", any(node.multicast for node in nodes)),
                                        ("reduce", any(node.reduce for node in nodes))) if can]  # fmt: skip
    names = views.members(topology, found.switches)
    views.row(console, "in-network", f"{names} can {' and '.join(abilities)}")
    bound = common.algbw(found.proven.weight, found.proven.bound.ratio)
    text = f"without: {views.rate(bound)} is the bound"
    if found.reached is not None:
        text += f", {views.rate(found.reached)} what trees reach"
    views.row(console, "", text)
