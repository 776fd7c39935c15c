"""Files with random damage: a topology or a TopologyError with its line, never anything else, and soon."""

from __future__ import annotations

import random
import re
import time
from fractions import Fraction

import pytest

from collsched.collective import make_collective
from collsched.errors import InputError, TopologyError
from collsched.forest.problem import problem
from collsched.topology import Link, Node, Topology, bundled_names, library
from collsched.topology.document import Source, read_text
from collsched.topology.reader import read_topology

TEXTS = [read_text(library.directory() / f"{name}.yaml", Source(name)) for name in bundled_names()]
SPLINTERS = [
    "[0..7]",
    "*a",
    "&a ",
    "!!int ",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "'",
    '"',
    "\n",
    "  ",
    "\t",
    "#",
    "|",
    "?",
    "\u2028",
]
VALUES = [
    *(
        "0",
        "-1",
        "1e9",
        "boxes",
        "gpu0",
        "99999999999",
        "nan",
        "1/0",
        "1/3",
        "4x4",
        "0x0",
        "true",
        "rank",
        "switch",
        "{}",
        "[]",
    ),
    *(
        "~",
        "ib",
        "300",
        "torus",
        "rail",
        "dragonfly",
        "random-irregular",
        "grid",
        "flag",
        "bandwidth",
        "é",
        "dims",
        "min(1)",
    ),
    *(
        "",
        "{a: 1}",
        "[1, 2]",
        "25 GB/s",
        "1 us",
        '"[i=0..3]"',
        '"[j]"',
        '"box[0..1]/gpu[0..7]"',
        "1 if x else 2",
        "1 +",
    ),
]
VALUE = re.compile(r"(?<=: )[^,{}\n#]+")


@pytest.mark.parametrize(
    "rates",
    [
        ["1.00000000000000000000000001", "5"],
        ["1.000000000000000001", "5"],
        ["100/1000003", "100/1000033", "100/1000037", "100/1000039"],
        [f"100/{10**6 + i}" for i in range(400)],
    ],
)
def test_bandwidths_without_a_common_measure(rates):
    nodes = tuple(Node(f"gpu{i}", "rank") for i in range(len(rates) + 1))
    links = (Link(i, i + 1, Fraction(rate)) for i, rate in enumerate(rates))
    ring = Topology("ring", nodes, (*links, Link(len(rates), 0, Fraction(1))))
    with pytest.raises(
        InputError, match=r"ring: the link bandwidths, such as .* → gpu\d+, have no common measure; allowed"
    ):
        problem(ring, make_collective(ring, "allgather"), reverse=False)


def broken(rng: random.Random) -> str:
    text = rng.choice(TEXTS)
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.6:
            start, end = rng.choice([match.span() for match in VALUE.finditer(text)] or [(0, 0)])
            text = text[:start] + rng.choice(VALUES) + text[end:]
        else:
            start = rng.randrange(len(text) + 1)
            text = text[:start] + rng.choice(SPLINTERS) + text[start + rng.choice([0, 1, 5]) :]
    return text


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(seed):
    rng = random.Random(seed)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(300):
        text, start = broken(rng), time.monotonic()
        try:
            read_topology(text, Source("damaged.yaml"), {})
            outcomes["read"] += 1
        except TopologyError as error:
            assert re.fullmatch(r"damaged\.yaml:\d+: .+; .+; .+", str(error)), text
            outcomes["refused"] += 1
        assert time.monotonic() - start < 10, text
    assert min(outcomes.values()) > 20
