"""The judge finds every kind of mistake."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from fabrics import leaf_spine

from collsched.errors import VerificationError
from collsched.routes.check import Extents, Routing, check_routing

TOPOLOGY = leaf_spine(2, 2, 2)
NODE = {node.name: number for number, node in enumerate(TOPOLOGY.nodes)}
VIA = tuple(tuple(NODE[name] for name in ("leaf0", spine, "leaf1")) for spine in ("spine0", "spine1"))
EXTENTS = Extents(np.array([0]), np.array([0]), np.array([2]), np.array([0]), np.array([100]))
ROUTING = Routing(
    np.array([0, 0]), np.array([0, 0]), np.array([2, 2]), np.array([0, 60]), np.array([60, 40]), np.array([0, 1]), VIA
)


def test_loads_and_pieces_are_counted() -> None:
    loads = check_routing(TOPOLOGY, EXTENTS, ROUTING)
    assert sorted(loads.bytes[loads.bytes > 0].tolist()) == [40, 40, 60, 60, 100, 100]
    assert loads.pieces.sum() == 8
    assert loads.congestion == Fraction(100, 12_500_000_000)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bytes": np.array([60, 39])}, "partition"),
        ({"offset": np.array([0, 59])}, "partition"),
        ({"offset": np.array([0, 61])}, "partition"),
        ({"flow": np.array([0, 1])}, "partition"),
        ({"dst": np.array([2, 3])}, "partition"),
        ({"bytes": np.array([101, -1])}, "negative"),
        ({"path": np.array([0, 2])}, "path of a subflow does not exist"),
        ({"switches": (VIA[0], VIA[1][:2])}, "no link"),
        ({"switches": (VIA[0], (VIA[1][0], VIA[1][2]))}, "no link"),
        ({"switches": (VIA[0], ())}, "no link"),
        ({"switches": (VIA[0], (NODE["leaf0"], NODE["rank1"], NODE["leaf1"]))}, "no switch"),
    ],
)
def test_mistakes_are_found(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(VerificationError, match=complaint):
        check_routing(TOPOLOGY, EXTENTS, replace(ROUTING, **change))  # type: ignore[arg-type]
