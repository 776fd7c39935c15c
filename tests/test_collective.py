"""Collectives: argument checking, exact shard sizes, and the promises that a verifier holds them to."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collsched.collective import KINDS, PROMISES, Kind, holders, make_collective, parse_kind, read_shards
from collsched.errors import InputError
from collsched.topology.model import Link, Node, Topology
from collsched.topology.names import RankNames, compress


def star(boxes: int = 2, gpus: int = 4) -> Topology:
    ranks = [Node(f"box{b}/gpu{g}", "rank") for b in range(boxes) for g in range(gpus)]
    switch = len(ranks)
    links = [Link(a, b, Fraction(25)) for i in range(switch) for a, b in ((i, switch), (switch, i))]
    return Topology("star", (*ranks, Node("leaf0", "switch")), tuple(links))


def test_default_group_is_every_rank_with_equal_shards() -> None:
    collective = make_collective(star(), "allgather")
    assert collective.kind is Kind.ALLGATHER
    assert collective.group == collective.owners == tuple(range(8))
    assert collective.shards == (1,) * 8
    assert collective.root is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-3", (0, 1, 2, 3)),
        ("6,0-1", (0, 1, 6)),
        ("box1/gpu0,box0/gpu3", (3, 4)),
        ("box[0-1]/gpu[0,2]", (0, 2, 4, 6)),
        (" 7 , 2-2 ", (2, 7)),
    ],
)
def test_group_texts(text: str, expected: tuple[int, ...]) -> None:
    assert make_collective(star(), "allgather", group=text).group == expected


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("0-9", "rank 9 does not exist; star has ranks 0 to 7"),
        ("3-1", "the range '3-1' runs backwards; write 1-3"),
        ("0-3,2", r"rank 2 \(box0/gpu2\) is named twice"),
        ("box0/gpu9", "no rank is named 'box0/gpu9'; did you mean 'box0/gpu3'"),
        ("leaf0", "'leaf0' is a switch, not a rank"),
        ("", "no rank is named ''"),
        ("box0/gpu[0-x]", "no rank is named"),
        ("box0/gpu[0-]", "'0-' in .* is not a number or a range"),
        ("gpu[0-99999999]", "names more ranks than the 8 of star"),
        ([], "group: no rank"),
        ([0, -1], "rank -1 does not exist"),
    ],
)
def test_bad_groups(group: str | list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_collective(star(), "allgather", group=group)


def test_root_by_name_number_and_default() -> None:
    assert make_collective(star(), "broadcast", root="box1/gpu0").root == 4
    assert make_collective(star(), "reduce", root=3).owners == (3,)
    assert make_collective(star(), "gather", group="2-5").root == 2
    with pytest.raises(InputError, match="not in the group"):
        make_collective(star(), "scatter", group="2-5", root=0)
    with pytest.raises(InputError, match="allgather has no root"):
        make_collective(star(), "allgather", root=0)


@pytest.mark.parametrize("name", ["allreduce", "All-Reduce", "reduce_scatter", "REDUCE-SCATTER", "all gather"])
def test_kind_spellings(name: str) -> None:
    assert parse_kind(name) in KINDS


@pytest.mark.parametrize("name", ["gossip", ""])
def test_unknown_kinds_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="choose"):
        parse_kind(name)


def test_shards_are_exact_and_coprime(tmp_path: Path) -> None:
    file = tmp_path / "shards.yaml"
    file.write_text("box0/gpu0: 12.5\nbox0/gpu1: 5/2\nbox0/gpu2: 0\nbox0/gpu3: 10\n")
    collective = make_collective(star(), "allgather", group="0-3", shards=read_shards(file))
    assert collective.shards == (5, 1, 0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu0: 1\ngpu0: 2\n", ":2: rank 'gpu0' has a size already"),
        ("gpu0: -1\n", ":1: size '-1'"),
        ("gpu0: 1e9\n", ":1: size '1e9'"),
        ("gpu0: 1/0\n", ":1: size '1/0'"),
        ("gpu0: .nan\n", ":1: size '.nan'"),
        ("gpu0: [1]\n", ":1: expected `rank name: size`"),
        ("- 1\n", "expected one mapping"),
        ("", "expected one mapping"),
        ("a: {\n", "not YAML"),
        ("\tgpu0: 1\n", "not YAML"),
    ],
)
def test_bad_shard_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "shards.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_shards(file)


def test_missing_shard_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_shards(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("kind", "shards", "message"),
    [
        ("allgather", {"box0/gpu0": 1}, "'box0/gpu1' has no size"),
        ("allgather", {"box0/gpu0": 1, "box0/gpu1": 1, "box0/gpu2": 1}, "it is not in the group"),
        ("allgather", {"box0/gpu0": 1, "box0/gpu1": 1, "x": 1}, "no rank is named 'x'"),
        ("allgather", {"box0/gpu0": 0, "box0/gpu1": 0}, "not all zero"),
        ("allgather", {"box0/gpu0": 1, "box0/gpu1": Fraction(2**31 - 1)}, "above 2147483647; round them"),
        ("broadcast", {"box0/gpu0": 1, "box0/gpu1": 1}, "broadcast has one shard"),
    ],
)
def test_bad_shards(kind: str, shards: dict[str, Fraction | int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_collective(star(), kind, group="0-1", shards=shards)


def test_no_rank_is_an_error() -> None:
    with pytest.raises(InputError, match="has no rank"):
        make_collective(Topology("empty", (Node("s", "switch"),), ()), "allgather")


@pytest.mark.parametrize("kind", KINDS)
def test_promises_name_existing_ranks(kind: Kind) -> None:
    collective = make_collective(star(), kind)
    promise = PROMISES[kind]
    assert promise.reduced == kind.reduces
    for shard in range(len(collective.shards)):
        before = holders(collective, shard, promise.before)
        after = holders(collective, shard, promise.after)
        assert before and after and set(before) | set(after) <= set(collective.group)


def test_promises_of_the_rooted_and_their_mirrors() -> None:
    gather, scatter = PROMISES[Kind.GATHER], PROMISES[Kind.SCATTER]
    assert (gather.before, gather.after) == (scatter.after, scatter.before)
    allgather, reduce_scatter = PROMISES[Kind.ALLGATHER], PROMISES[Kind.REDUCE_SCATTER]
    assert (allgather.before, allgather.after) == (reduce_scatter.after, reduce_scatter.before)


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1))
def test_compressed_names_select_the_same_ranks(members: set[tuple[int, int]]) -> None:
    names = RankNames.of(star(4, 13))
    chosen = sorted(members)
    text = compress(f"box{b}/gpu{g}" for b, g in chosen)
    assert sorted(names.select(text)) == [13 * b + g for b, g in chosen]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["box0/gpu0", "box0/gpu1", "box1/gpu0", "box1/gpu1"], "box[0-1]/gpu[0-1]"),
        (["gpu0", "gpu1", "gpu3"], "gpu[0-1,3]"),
        (["nic00", "nic01"], "nic00, nic01"),
        (["a"], "a"),
        ([], ""),
    ],
)
def test_compress(names: list[str], expected: str) -> None:
    assert compress(names) == expected
