"""MSCCL++ execution plans: what is exported loads, does its collective, keeps the traffic; what is broken does not."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from exported import FABRICS, compiled, grown, load_mscclpp, moved, mscclpp, placed, star
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import Kind
from collsched.compiler import compile
from collsched.errors import InputError, VerificationError
from collsched.export.mscclpp_json import plan_json
from collsched.ir.operations import ExecutorLimits, Operation
from collsched.lower.buffers import KINDS
from collsched.passes.remote_operations import RemoteOperations, fits


@pytest.mark.parametrize("trees", [None, 1])
@pytest.mark.parametrize("kind", [Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE])
@pytest.mark.parametrize("fabric", FABRICS)
def test_machines_fit_the_executor(fabric: str, kind: Kind, trees: int | None) -> None:
    """One host over memory channels, several over port channels as well."""
    plan = compiled(fabric, kind, trees)
    if (fabric, trees) == ("two MI250 boxes", None):  # executing it takes seconds
        if kind is Kind.ALLGATHER:
            turn = RemoteOperations([rank // 16 for rank in range(32)], blocks=44)
            assert fits(turn(placed(plan)), turn.limits)
        return
    ranks = [plan.topology.nodes[node] for node in plan.topology.ranks]
    turn = RemoteOperations([rank.host for rank in ranks])
    placement = placed(plan, in_place=kind is Kind.ALLREDUCE)
    program = turn(placement)
    text = "".join(plan_json(program, "test"))
    assert load_mscclpp(text, placement) == moved(placement)
    assert ('"port"' in text) == (len({rank.host for rank in ranks}) > 1)
    assert fits(program, turn.limits)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(KINDS),
    segments=st.integers(1, 3),
    in_place=st.booleans(),
    hosts=st.integers(1, 3),
    blocks=st.integers(1, 16),
    operations=st.sampled_from((24, 64)),
)
def test_any_trees_are_expressed(
    seed: int, kind: Kind, segments: int, in_place: bool, hosts: int, blocks: int, operations: int
) -> None:
    placement = placed(grown(seed, kind), segments, in_place=in_place and kind is not Kind.ALL_TO_ALL)
    text = mscclpp(placement, hosts, blocks, ExecutorLimits(operations=operations))
    assert load_mscclpp(text, placement) == moved(placement)


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("kind", [Kind.ALLREDUCE, Kind.REDUCE_SCATTER])
def test_more_peers_than_an_operation_holds(kind: Kind, hosts: int) -> None:
    """12 ranks reduce into one: 11 remote buffers, 8 an operation, in memory or in scratch."""
    placement = placed(compile(star(12), kind), in_place=True)
    assert load_mscclpp(mscclpp(placement, hosts), placement) == moved(placement)


def test_limits_are_told_by_name() -> None:
    """20 peers need 20 channels in a block that sums for all of them."""
    wide = ExecutorLimits(width=30)
    placement = placed(compile(star(21), Kind.ALLREDUCE), in_place=True)
    with pytest.raises(InputError, match=r"“channels of a kind and thread block”: .* has 20, at most 16"):
        load_mscclpp(mscclpp(placement), placement)
    small = placed(compiled("two A100 boxes", Kind.ALLREDUCE))
    with pytest.raises(InputError, match="“operations of a thread block”"):
        load_mscclpp(mscclpp(small, 2, 1, ExecutorLimits(operations=1000)), small)
    with pytest.raises(InputError, match="“thread blocks of a rank”"):
        load_mscclpp(mscclpp(small, 2, 114, ExecutorLimits(blocks=200)), small)
    twelve = placed(compile(star(12), Kind.ALLREDUCE))
    inside = placed(compile(star(12), Kind.ALLREDUCE), in_place=True)
    with pytest.raises(
        InputError, match=r"“remote buffers of a kind and thread block”: .* has 22, .* or with --in-place"
    ):
        load_mscclpp(mscclpp(twelve), twelve)
    with pytest.raises(InputError, match="“channels of an operation”"):
        load_mscclpp(mscclpp(inside, limits=wide), inside)


def test_components_start_as_a_pipeline_where_they_fit() -> None:
    placement = placed(compiled("one MI250 box", Kind.ALLGATHER, 1))
    few = RemoteOperations([0] * 16, blocks=4)(placement)
    waves = [sum(op.name == "put" for op in block.operations) for blocks in few.blocks for block in blocks]
    together = RemoteOperations([0] * 16, blocks=4, limits=ExecutorLimits(operations=24, blocks=4))(placement)
    fewer = [sum(op.name == "put" for op in block.operations) for blocks in together.blocks for block in blocks]
    assert max(waves) > max(fewer)
    assert Operation("nop") in few.blocks[0][0].operations


def of_two_hosts(kind: Kind) -> tuple[dict[str, Any], Any]:
    placement = placed(compiled("one MI250 box", kind, 1))
    return json.loads(mscclpp(placement, 2)), placement


def operations(plan: dict[str, Any], *names: str) -> list[tuple[list[dict[str, Any]], int]]:
    """(operations of a block, position) of operations of some names."""
    blocks = [block["ops"] for gpu in plan["gpus"] for block in gpu["threadblocks"]]
    return [(ops, i) for ops in blocks for i, op in enumerate(ops) if op["name"] in names]


def names(ops: list[dict[str, Any]]) -> set[str]:
    return {op["name"] for op in ops}


def lose(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice(operations(plan, "put", "rre", "re", "copy"))
    del ops[i]


def forget_to_wait(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice(operations(plan, "wait"))
    del ops[i]


def forget_to_signal(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice(operations(plan, "signal"))
    del ops[i]


def forget_to_meet(plan: dict[str, Any], rng: random.Random) -> None:
    """Some nops separate what happens to be in order anyway; without any, a block does not work."""
    ops, _ = rng.choice([(ops, i) for ops, i in operations(plan, "put", "rre") if {"nop", "signal"} <= names(ops)])
    ops[:] = [op for op in ops if op["name"] != "nop"]


def read_elsewhere(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice(operations(plan, "put", "rre", "re"))
    rng.choice(ops[i]["src_buff"])["index"] += rng.choice((-1, 1))


def write_elsewhere(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice(operations(plan, "put", "rre", "re"))
    rng.choice(ops[i]["dst_buff"])["index"] += rng.choice((-1, 1))


def count_wrongly(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice(operations(plan, "put", "rre", "re"))
    rng.choice(ops[i]["dst_buff"])["size"] += 1


def take_another_buffer(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice(operations(plan, "put", "rre", "re"))
    part = ops[i]["src_buff"][0]
    part["type"] = {"i": "o", "o": "i", "s": "i"}[part["type"]]


def take_another_channel(plan: dict[str, Any], rng: random.Random) -> None:
    ops, i = rng.choice([(ops, i) for ops, i in operations(plan, "signal") if len(ops[i]["channel_ids"]) == 1])
    ops[i]["channel_ids"] = [ops[i]["channel_ids"][0] + 1]


MUTATIONS = (
    lose,
    forget_to_wait,
    forget_to_signal,
    forget_to_meet,
    read_elsewhere,
    write_elsewhere,
    count_wrongly,
    take_another_buffer,
    take_another_channel,
)


@pytest.mark.parametrize("kind", [Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE])
@pytest.mark.parametrize("mutate", MUTATIONS)
def test_broken_plans_are_refused(mutate: Callable[[dict[str, Any], random.Random], None], kind: Kind) -> None:
    plan, placement = of_two_hosts(kind)
    rng = random.Random(7)
    for _ in range(2):
        broken = copy.deepcopy(plan)
        mutate(broken, rng)
        with pytest.raises((VerificationError, InputError)):
            load_mscclpp(json.dumps(broken), placement)


def test_calls_begin_and_end_together() -> None:
    """Without the first handshake data may arrive before a call, without the last a peer may read after it."""
    placement = placed(compiled("one A100 box", Kind.REDUCE_SCATTER))
    plan = json.loads(mscclpp(placement))
    for gpu in plan["gpus"]:
        for block in gpu["threadblocks"]:
            block["ops"] = without_last_handshake(block["ops"])
    with pytest.raises(VerificationError, match="“ended”"):
        load_mscclpp(json.dumps(plan), placement)
    placement = placed(compiled("one A100 box", Kind.ALLGATHER))
    plan = json.loads(mscclpp(placement))
    for gpu in plan["gpus"]:
        for block in gpu["threadblocks"]:
            block["ops"] = without_first_handshake(block["ops"])
    with pytest.raises(VerificationError, match="“started”"):
        load_mscclpp(json.dumps(plan), placement)


def without_first_handshake(ops: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whoever is put to signals first, whoever puts waits before."""
    puts = [i for i, op in enumerate(ops) if op["name"] == "put"]
    before = puts[0] if puts else 1
    return [op for op in ops[:before] if op["name"] not in ("signal", "wait")] + ops[before:]


def without_last_handshake(ops: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Readers keep what comes before the nop after their reads, those who are read from their first signal."""
    reads = [i for i, op in enumerate(ops) if op["name"] == "rre"]
    return ops[: reads[-1] + 1] if reads else ops[:1]


@pytest.mark.parametrize(
    ("text", "rule"),
    [("{", "form"), ("[]", "form"), ('{"gpus": []}', "form"), ('{"gpus": [{"input_chunks": "x"}]}', "form")],
)
def test_what_is_no_plan(text: str, rule: str) -> None:
    with pytest.raises(VerificationError, match=f"“{rule}”"):
        load_mscclpp(text, placed(compiled("one A100 box", Kind.ALLREDUCE)))


def test_the_text_of_a_small_plan(golden: Any) -> None:
    """Two hosts, of two ranks and one: memory and port channels, scratch, handshakes."""
    plan = json.loads(mscclpp(placed(compile(star(3), Kind.ALLREDUCE)), 2, 1))
    lines = [json.dumps({key: value for key, value in plan.items() if key != "gpus"})]
    for gpu in plan["gpus"]:
        blocks = gpu.pop("threadblocks")
        lines.append(json.dumps(gpu))
        for block in blocks:
            ops = block.pop("ops")
            lines += [json.dumps(block), *(f"    {json.dumps(op)}" for op in ops)]
    golden.check("\n".join(lines), "mscclpp-json")
