"""Fabrics with partners in place of switches: what stands for what, and when no throughput is lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from collsched.collective import make_collective
from collsched.forest.check import check_forest
from collsched.forest.optimum import optimum
from collsched.forest.packing import pack
from collsched.forest.partners import partners
from collsched.forest.problem import problem
from collsched.topology.library import bundled
from collsched.topology.model import Link, Topology

FABRICS = [
    ("mi250", 2),
    ("mi250", 4),
    ("degraded", 2),
    ("mixed-vendors", 2),
    ("dgx-a100", 2),
    ("dgx-a100", 3),
    ("dgx-a100", 4),
]


@pytest.mark.parametrize(("name", "boxes"), FABRICS)
@pytest.mark.parametrize("kind", ["allgather", "reduce-scatter"])
def test_trees_between_partners_are_trees_of_the_fabric(name: str, boxes: int, kind: str) -> None:
    topology = bundled(name, boxes=boxes)
    fabric = partners(topology)
    assert fabric is not None
    collective = make_collective(topology, kind)
    reverse = kind == "reduce-scatter"
    there = problem(fabric.topology, collective, reverse=reverse)
    here = optimum(problem(topology, collective, reverse=reverse))
    assert optimum(there).ratio == here.ratio  # on all of these fabrics
    forest = fabric.lifted(pack(there, optimum(there)))
    assert check_forest(topology, collective, forest, reverse=reverse).ratio == here.ratio


@pytest.mark.parametrize(("name", "boxes"), FABRICS)
def test_every_port_has_a_partner_on_another_host(name: str, boxes: int) -> None:
    topology = bundled(name, boxes=boxes)
    fabric = partners(topology)
    assert fabric is not None
    senders, receivers, hosts = set[int](), set[int](), set[tuple[str | None, str | None]]()
    for link, path in zip(fabric.topology.links, fabric.paths, strict=True):
        first, last = topology.links[path[0]], topology.links[path[-1]]
        assert (link.src, link.dst) == (first.src, last.dst)
        assert link.alpha == sum((topology.links[step].alpha for step in path), Fraction(0))
        assert link.bandwidth == min(topology.links[step].bandwidth for step in path)
        if len(path) > 1:
            assert first.dst == last.src and link.src not in senders and link.dst not in receivers
            senders.add(link.src)
            receivers.add(link.dst)
            hosts.add((topology.nodes[link.src].host, topology.nodes[link.dst].host))
    assert senders == receivers == set(topology.ranks)
    assert len(hosts) == boxes * (boxes - 1)
    between = {
        (link.src, link.dst) for link, path in zip(fabric.topology.links, fabric.paths, strict=True) if len(path) > 1
    }
    assert boxes % 2 or between == {(dst, src) for src, dst in between}  # partners of each other


@pytest.mark.parametrize("topology", [
    bundled("dgx-a100", boxes=1),  # no host to go to
    bundled("leaf-spine", boxes=8),  # switches join switches
    bundled("unequal-boxes", boxes=2),  # hosts of different sizes
    bundled("torus-2d", dims="4x4"),  # no switch
], ids=lambda topology: topology.name)  # fmt: skip
def test_other_fabrics_have_none(topology: Topology) -> None:
    assert partners(topology) is None


def test_two_links_between_the_same_ranks_are_left_alone() -> None:
    """A rank that is joined to its partner already."""
    topology = bundled("mi250", boxes=2)
    fabric = partners(topology)
    assert fabric is not None
    first = next(link for link, path in zip(fabric.topology.links, fabric.paths, strict=True) if len(path) > 1)
    links = (*topology.links, Link(first.src, first.dst, Fraction(1)), Link(first.dst, first.src, Fraction(1)))
    assert partners(replace(topology, links=links)) is None


def test_switches_that_multicast_are_left_alone() -> None:
    topology = bundled("mi250", boxes=2)
    nodes = tuple(replace(node, multicast=node.kind == "switch") for node in topology.nodes)
    assert partners(replace(topology, nodes=nodes)) is None
