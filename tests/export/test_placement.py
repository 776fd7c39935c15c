"""Where chunks lie in the buffers of a call, and what a rank copies of its own."""

from __future__ import annotations

import pytest
from exported import compiled, placed, star

from collsched.collective import Kind
from collsched.compiler import compile
from collsched.errors import InputError
from collsched.ir.placement import Copy, Spot
from collsched.lower.buffers import place


def test_own_data_is_copied_where_nothing_brings_it() -> None:
    """Chunks that follow each other are one copy; in place there is none."""
    placement = placed(compiled("two A100 boxes", Kind.ALLGATHER))
    assert (placement.units, placement.input, placement.output) == (208, 13, 208)
    assert placement.copies[3] == Copy(3, 13, Spot("i", 0), Spot("o", 39))
    assert not placed(compiled("two A100 boxes", Kind.ALLGATHER), in_place=True).copies
    assert not placed(compiled("two A100 boxes", Kind.ALLREDUCE)).copies
    exchange = placed(compiled("one A100 box", Kind.ALL_TO_ALL))
    assert exchange.copies[2] == Copy(2, 1, Spot("i", 2), Spot("o", 2))


def test_partial_sums_of_others_lie_in_scratch() -> None:
    placement = placed(compiled("one MI250 box", Kind.REDUCE_SCATTER, 1))
    assert placement.output == 1 and sum(placement.scratch) > 0
    assert {move.write.buffer for move in placement.moves} == {"o", "s"}
    inside = placed(compiled("one MI250 box", Kind.REDUCE_SCATTER, 1), in_place=True)
    owned = [move for move in inside.moves if move.write.buffer == "i"]
    assert owned and all(move.write.offset == move.dst for move in owned)


def test_reductions_into_a_place_form_a_chain() -> None:
    placement = placed(compile(star(4), Kind.REDUCE_SCATTER))
    into = [(t, move) for t, move in enumerate(placement.moves) if move.dst == 2]
    assert [move.after_write for _, move in into] == [-1, into[0][0], into[1][0]]
    assert [move.operand for _, move in into] == [Spot("i", 2), Spot("o", 0), Spot("o", 0)]


def test_a_group_is_numbered_from_zero() -> None:
    placement = placed(compile(star(6), Kind.ALLGATHER, group=[1, 3, 5]))
    assert placement.ranks == 3 and {move.src for move in placement.moves} == {0, 1, 2}


def test_what_has_no_place() -> None:
    plan = compile(star(3), Kind.ALLREDUCE, shards={"gpu0": 1, "gpu1": 70001, "gpu2": 1})
    with pytest.raises(InputError, match="into 70003 units, allowed are 65536; compile with fewer trees"):
        placed(plan)
    unequal = compile(star(3), Kind.ALLGATHER, shards={"gpu0": 1, "gpu1": 2, "gpu2": 1})
    with pytest.raises(InputError, match=r"allgather of unequal shards: .*compile without --shards"):
        placed(unequal)
    with pytest.raises(InputError, match="all-to-all in place"):
        placed(compiled("one A100 box", Kind.ALL_TO_ALL), in_place=True)
    relayed = compile(compiled("one MI250 box", Kind.ALLGATHER).topology, Kind.ALLGATHER, group=[0, 8])
    with pytest.raises(InputError, match=r"relays for the group without being in it.*larger --group"):
        place(relayed.topology, relayed.schedule())
