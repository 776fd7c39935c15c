"""A topology made by hand is checked like one from a file."""

from __future__ import annotations

from fractions import Fraction

import pytest

from collsched.errors import TopologyError
from collsched.topology import Link, Node, Topology

GPUS = (Node("a", "rank"), Node("b", "rank"), Node("s", "switch"))


def test_ranks_are_numbered_in_order():
    topology = Topology("t", (GPUS[2], GPUS[1], GPUS[0]), (Link(0, 1, Fraction(1)), Link(1, 0, 2)))
    assert topology.ranks == (1, 2) and topology.rank_of == {1: 0, 2: 1}
    assert topology.where(1) == "t"


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([Link(0, 0, Fraction(1))], "link from node 0 to node 0; allowed are two different ids from 0 to 2"),
        ([Link(0, 3, Fraction(1))], "link from node 0 to node 3; allowed are two different ids from 0 to 2"),
        ([Link(-1, 0, Fraction(1))], "link from node -1 to node 0"),
        ([Link(0, 1, 12.5)], "link from 'a' to 'b' has bandwidth 12.5; allowed is a Fraction of GB/s above 0"),
        ([Link(0, 1, Fraction(0))], "has bandwidth Fraction(0, 1); allowed is a Fraction of GB/s above 0"),
        ([Link(0, 1, Fraction(1), Fraction(-1))], "has latency Fraction(-1, 1); allowed is a Fraction of µs from 0"),
        ([Link(0, 1, Fraction(1)), Link(0, 1, Fraction(2))], "two links from 'a' to 'b'; allowed is one"),
    ],
)
def test_links_that_cannot_be(links, message):
    with pytest.raises(TopologyError) as caught:
        Topology("t", GPUS, tuple(links))
    assert message in str(caught.value)


def test_names_are_distinct():
    with pytest.raises(TopologyError, match="two nodes are called 'a'; allowed is each name once"):
        Topology("t", (GPUS[0], GPUS[0]), ())
