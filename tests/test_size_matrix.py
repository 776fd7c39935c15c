"""Sizes for pairs of ranks: three spellings of one matrix, and what is wrong with the others."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from collsched.collective import make_collective
from collsched.compiler import compile
from collsched.errors import InputError, UnreachableError
from collsched.matrix import read_matrix
from collsched.plan import Plan
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology

SPELLINGS = {
    "m.yaml": "c: {a: 1/3}\na: {b: 2.5, c: 1}\n",
    "table.csv": ",a,b,c\na,0,2.5,1\nc,1/3,0,0\n",
    "pairs.csv": "src, dst, size\nc,a,1/3\n\na,b,2.5\na,c,1\n",
}
SIZES = (0, 15, 6, 0, 0, 0, 2, 0, 0)


def triangle() -> Topology:
    nodes = tuple(Node(name, "rank") for name in "abc")
    return Topology("triangle", nodes, tuple(Link(i, (i + 1) % 3, Fraction(10)) for i in range(3)))


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(SPELLINGS[name])
    collective = make_collective(triangle(), "all-to-all", matrix=read_matrix(tmp_path / name))
    assert collective.shards == SIZES
    assert collective.weight == 21 and collective.total(21) == 23  # the buffer that counts is that of a


WRONG = {
    "m.yaml": (
        ("a: {b: 1}\na: {c: 1}\n", r"m.yaml:2: 'a' has a row already"),
        ("a:\n  b: 1\n  b: 2\n", r"m.yaml:3: 'a' → 'b' has a size already"),
        ("a: {b: -1}\n", r"m.yaml:1: size '-1'; a non-negative number"),
        ("a: {b: 1e9}\n", "size '1e9'"),
        ("a: {b: 1/0}\n", "size '1/0'"),
        ("a: {b: [1]}\n", r"m.yaml:1: expected a mapping, source → target → size"),
        ("a: 3\n", "expected a mapping"),
        ("[a]\n", "expected a mapping"),
        ("a: {b: 1\n", "not YAML"),
        ("", "expected a mapping"),
    ),
    "m.csv": (
        ("", "empty; expected a row of target names"),
        ("x,a,b\n", "m.csv:1: starts with 'x'"),
        (",a,a\n", "m.csv:1: target 'a' has two columns"),
        (",a,b\na,1\n", "m.csv:2: 2 cells where 3 are needed"),
        (",a,b\na,0,1\na,0,1\n", "m.csv:3: 'a' has a row already"),
        (",a,b\na,0,x\n", "m.csv:2: column 'b': size 'x'"),
        ("src,dst,size\na,b\n", "m.csv:2: 2 cells where 3 are needed"),
        ("src,dst,size\na,b,1\na,b,2\n", "m.csv:3: 'a' → 'b' has a size already"),
        ("src,dst,size\na,b,1_0\n", "size '1_0'"),
        ('src,dst,size\n"a,b,1\n', "not CSV"),
    ),
}


@pytest.mark.parametrize(("name", "text", "message"), [(n, *case) for n, cases in WRONG.items() for case in cases])
def test_wrong_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_matrix(tmp_path / name)


def test_no_such_file_and_no_text(tmp_path: Path) -> None:
    for name in ("none.csv", "none.yaml"):
        with pytest.raises(InputError, match="No such file"):
            read_matrix(tmp_path / name)
        (tmp_path / name).write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match=r"not (CSV|YAML)"):
            read_matrix(tmp_path / name)


def test_names_are_ranks_of_the_group(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text("src,dst,size\na,b,1\nb,d,1\n")
    with pytest.raises(InputError, match=r"m.csv:3: 'd' has sizes, but no rank is named 'd'"):
        make_collective(triangle(), "all-to-all", matrix=read_matrix(file))
    with pytest.raises(InputError, match="matrix: 'c' has sizes, but it is not in the group"):
        make_collective(triangle(), "all-to-all", group="0-1", matrix={"a": {"c": 1}})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"a": {"b": 0}}, "not all zero"),
        ({"a": {"b": -1, "c": 2}}, "non-negative"),
        ({"a": {"b": 2**40, "c": 3}}, "sum to 1099511627779, above 1099511627776; round them"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, dict[str, int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_collective(triangle(), "all-to-all", matrix=sizes)


def test_other_collectives_take_no_matrix() -> None:
    with pytest.raises(InputError, match="allgather has no sizes for pairs"):
        make_collective(triangle(), "allgather", matrix={"a": {"b": 1}})
    with pytest.raises(InputError, match="give a matrix instead"):
        make_collective(triangle(), "all-to-all", shards={"a": 1, "b": 1, "c": 1})


def test_only_pairs_that_exchange_must_reach_each_other() -> None:
    chain = Topology("chain", triangle().nodes, tuple(Link(i, i + 1, Fraction(10)) for i in range(2)))
    plan = compile(chain, "all-to-all", matrix={"a": {"c": 2}, "b": {"c": 1, "b": 5}})
    assert plan.report.ratio == plan.report.bound == Fraction(3, 10)
    with pytest.raises(UnreachableError, match="rank a cannot be reached from rank c"):
        compile(chain, "all-to-all", matrix={"a": {"c": 2}, "c": {"a": 1}})


def test_a_plan_keeps_its_sizes(tmp_path: Path) -> None:
    plan = compile(triangle(), "all-to-all", matrix={"a": {"b": 2, "c": 1}, "c": {"a": 4, "c": 9}})
    assert plan.report.optimal and plan.report.ratio == Fraction(4, 10)
    plan.save(tmp_path / "plan.cs")
    assert Plan.load(tmp_path / "plan.cs").verify().ratio == plan.report.ratio
    lo, hi = plan.schedule().chunks.ranges(plan.collective, plan.collective.total(13))
    assert sorted((hi - lo).tolist()) == [1, 2, 4, 9]


def test_large_sizes_stay_exact() -> None:
    names = [f"box0/gpu{i}" for i in range(8)]
    sizes = {a: {b: 10**9 + 7 * i + j for j, b in enumerate(names)} for i, a in enumerate(names)}
    plan = compile(bundled("dgx-a100", boxes=1), "all-to-all", matrix=sizes)
    most = max(sum(size for b, size in row.items() if b != a) for a, row in sizes.items())
    into = max(sum(row[b] for a, row in sizes.items() if a != b) for b in names)
    assert plan.report.optimal and plan.report.ratio == Fraction(max(most, into), 300)
