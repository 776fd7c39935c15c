"""MSCCL algorithm files: what is exported loads, does its collective, keeps the traffic; what is broken does not."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from exported import FABRICS, compiled, grown, load_msccl, moved, msccl, placed, star
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import Kind
from collsched.compiler import compile
from collsched.errors import InputError, VerificationError
from collsched.export.check.msccl import RULES, check_msccl, load_algorithm
from collsched.ir.blocks import LOADERS
from collsched.lower.buffers import KINDS

PROFILES = tuple(LOADERS)
THREE = (Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE)


@pytest.mark.parametrize("trees", [None, 1])
@pytest.mark.parametrize("kind", THREE)
@pytest.mark.parametrize("fabric", FABRICS)
def test_machines_fit_a_loader(fabric: str, kind: Kind, trees: int | None) -> None:
    """Each loader comes to each machine with one of the collectives."""
    placement = placed(compiled(fabric, kind, trees), in_place=trees is None)
    if (fabric, trees) == ("two MI250 boxes", None):  # executing it takes seconds
        if kind is Kind.ALLREDUCE:
            load_algorithm(msccl(placement, "rccl"), "rccl")
        return
    profile = PROFILES[(tuple(FABRICS).index(fabric) + THREE.index(kind)) % len(PROFILES)]
    assert load_msccl(msccl(placement, profile), placement, profile) == moved(placement)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(KINDS),
    segments=st.integers(1, 3),
    in_place=st.booleans(),
    steps=st.integers(2, 64),
    count=st.integers(1, 71),
    blocks=st.integers(4, 64),
    channels=st.integers(1, 3),
)
def test_any_trees_are_expressed(
    seed: int, kind: Kind, segments: int, in_place: bool, steps: int, count: int, blocks: int, channels: int
) -> None:
    """Whatever the limits that they are packed for."""
    placement = placed(grown(seed, kind), segments, in_place=in_place and kind is not Kind.ALL_TO_ALL)
    loader = replace(LOADERS["executor"], steps=steps, count=count, blocks=blocks)
    text = msccl(placement, loader, channels)
    assert load_msccl(text, placement) == moved(placement)
    assert max(int(cnt) for cnt in re.findall(r'cnt="(\d+)"', text) or ["0"]) <= count
    longest = max((-(-move.units // count) for move in placement.moves), default=0)  # steps of one move stay together
    assert max((int(s) for s in re.findall(r'step s="(\d+)"', text)), default=0) < max(steps, longest)


def test_packing_keeps_within_limits_that_it_can_keep() -> None:
    """A rank of two boxes has 22 connections: with 11 blocks each serves two, with 4 steps a block there are many."""
    placement = placed(compiled("two A100 boxes", Kind.ALLREDUCE, 1))
    for loader in (replace(LOADERS["rccl"], blocks=9), replace(LOADERS["rccl"], steps=2), LOADERS["rccl"]):
        text = msccl(placement, loader)
        assert load_msccl(text, placement, "rccl") == moved(placement)
        blocks = [len(re.findall("<tb ", gpu)) for gpu in text.split("</gpu>")]
        assert max(blocks) <= loader.blocks


def test_many_ranks_spread_over_channels() -> None:
    """36 ranks on one switch: 35 peers a rank, 32 on a channel."""
    placement = placed(compile(star(36), Kind.ALLGATHER))
    assert load_msccl(msccl(placement), placement) == moved(placement)
    assert 'nchannels="2"' in msccl(placement)
    together = replace(LOADERS["executor"], peers=99)
    with pytest.raises(InputError, match="“peers of a channel”: rank 0 has 35, at most 32 are allowed"):
        load_msccl(msccl(placement, together), placement)


def attributes(line: str) -> dict[str, str]:
    return dict(re.findall(r'([a-z]+)="([^"]*)"', line))


def changed(text: str, line: int, **values: object) -> str:
    """The text with attributes of one line set to other values."""
    lines = text.split("\n")
    for name, value in values.items():
        lines[line] = re.sub(rf' {name}="[^"]*"', f' {name}="{value}"', lines[line])
    return "\n".join(lines)


def steps(text: str, *types: str) -> list[int]:
    """Lines of steps of some types."""
    return [i for i, line in enumerate(text.split("\n")) if re.search(rf'type="({"|".join(types)})"', line)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_place", [False, True])
def test_every_dependency_is_needed(kind: Kind, in_place: bool) -> None:
    if in_place and kind is Kind.ALL_TO_ALL:
        return
    placement = placed(compiled("one MI250 box", kind, None if kind is Kind.ALL_TO_ALL else 1), in_place=in_place)
    text = msccl(placement)
    waiting = [i for i, line in enumerate(text.split("\n")) if "<step" in line and 'depid="-1"' not in line]
    assert waiting or kind is Kind.ALL_TO_ALL
    for line in random.Random(1).sample(waiting, min(6, len(waiting))):
        with pytest.raises(VerificationError, match=r"race|reads|stops"):
            load_msccl(changed(text, line, depid=-1, deps=-1), placement)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from([Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE]))
def test_broken_files_are_refused(seed: int, kind: Kind) -> None:
    """A swapped chunk, a wrong offset, a changed count, a lost or doubled step, another channel, a silent producer."""
    rng = random.Random(seed)
    placement = placed(compiled("one MI250 box", kind, 1))
    text = msccl(placement)
    lines = text.split("\n")
    line = rng.choice(steps(text, "s", "r", "rrc"))
    found = attributes(lines[line])
    match rng.choice(("swap", "read", "write", "count", "buffer", "lost", "twice", "channel", "silent")):
        case "swap":
            others = [i for i in steps(text, "s") if attributes(lines[i])["srcoff"] != found["srcoff"]]
            line = next(i for i in steps(text, "s") if attributes(lines[i])["srcoff"] == found["srcoff"])
            other = rng.choice(others)
            broken = changed(text, line, srcoff=attributes(lines[other])["srcoff"])
        case "read":
            line = rng.choice(steps(text, "s", "rrc"))
            broken = changed(text, line, srcoff=int(attributes(lines[line])["srcoff"]) + rng.choice((-1, 1)))
        case "write":
            line = rng.choice(steps(text, "r", "rrc"))
            broken = changed(text, line, dstoff=int(attributes(lines[line])["dstoff"]) + rng.choice((-1, 1)))
        case "count":
            broken = changed(text, line, cnt=int(found["cnt"]) + rng.choice((-1, 1)))
        case "buffer":
            line = rng.choice(steps(text, "r", "rrc"))
            broken = changed(text, line, dstbuf="i" if attributes(lines[line])["dstbuf"] == "o" else "o")
        case "lost":
            broken = "\n".join(lines[:line] + lines[line + 1 :])
        case "twice":
            broken = "\n".join(lines[:line] + lines[line - 1 :])
        case "channel":
            line = rng.choice([i for i, word in enumerate(lines) if "<tb " in word and "<step" in lines[i + 1]])
            broken = changed(text, line, chan=int(attributes(lines[line])["chan"]) + 1)
        case _:
            line = rng.choice([i for i, word in enumerate(lines) if 'hasdep="1"' in word])
            broken = changed(text, line, hasdep=0)
    with pytest.raises((VerificationError, InputError)):
        load_msccl(broken, placement)


def test_the_reader_executes_every_type_of_step() -> None:
    """Three ranks in a row, an allreduce: up with rrcs, down with rcs; and the same with scratch, re, nop and cpy."""
    step = '<step s="{}" type="{}" srcbuf="{}" srcoff="0" dstbuf="{}" dstoff="0" cnt="1" '
    step += 'depid="{}" deps="{}" hasdep="{}"/>\n'
    block = '<tb id="{}" send="{}" recv="{}" chan="0">\n{}</tb>\n'
    gpu = '<gpu id="{}" i_chunks="1" o_chunks="1" s_chunks="{}">\n{}</gpu>\n'
    head = (
        '<algo name="x" proto="Simple" nchannels="1" nchunksperloop="1" ngpus="3" coll="allreduce" inplace="0" '
        'outofplace="1" minBytes="0" maxBytes="0">\n{}</algo>\n'
    )

    def rank0(last: str = "s") -> str:
        return gpu.format(0, 0, block.format(0, 1, -1, step.format(0, last, "i", "o", -1, -1, 0))
                          + block.format(1, -1, 1, step.format(0, "r", "o", "o", -1, -1, 0)))  # fmt: skip

    rank2 = gpu.format(2, 0, block.format(0, 1, 1, step.format(0, "rrcs", "i", "o", -1, -1, 0)))
    fused = block.format(0, 2, 0, step.format(0, "rrs", "i", "o", -1, -1, 0))
    fused += block.format(1, 0, 2, step.format(0, "rcs", "o", "o", -1, -1, 0))
    plain = block.format(0, -1, 0, step.format(0, "r", "i", "s", -1, -1, 1))
    plain += block.format(1, -1, -1, step.format(0, "cpy", "i", "o", -1, -1, 1))
    joined = step.format(0, "nop", "i", "o", 0, 0, 0) + step.format(1, "re", "s", "o", 1, 0, 0)
    plain += block.format(2, 2, -1, joined + step.format(2, "s", "o", "o", -1, -1, 1))
    plain += block.format(3, 0, 2, step.format(0, "rcs", "o", "o", -1, -1, 0))
    count = {(0, 1): 1, (1, 2): 1, (2, 1): 1, (1, 0): 1}
    for middle in (fused, plain):
        text = head.format(rank0() + gpu.format(1, 1, middle) + rank2)
        assert check_msccl(text, "executor", ranks=3, kind="allreduce") == count
    waits_for_copy = plain.replace('depid="0" deps="0"', 'depid="1" deps="0"')  # twice, and never for the arrival
    broken = {
        "once": head.format(rank0() + gpu.format(1, 1, plain.replace('srcbuf="s"', 'srcbuf="i"')) + rank2),
        "race": head.format(rank0() + gpu.format(1, 1, waits_for_copy) + rank2),
        "nop": head.format(rank0() + gpu.format(1, 1, plain.replace('depid="1"', 'depid="-1"')) + rank2),
        "peer": head.format(rank0("rcs") + gpu.format(1, 1, fused) + rank2),
        "type": head.format(rank0("put") + gpu.format(1, 1, fused) + rank2),
        "form": "\n" + head.format(rank0() + gpu.format(1, 1, fused) + rank2),
        "buffers": head.format(rank0() + gpu.format(1, 1, fused).replace('o_chunks="1"', 'o_chunks="2"') + rank2),
    }
    for rule, text in broken.items():
        with pytest.raises(VerificationError, match=f"“{rule}”"):
            check_msccl(text, "executor", ranks=3, kind="allreduce")


def test_circles_are_found() -> None:
    """Two ranks that both send before they receive: fine with buffers, a deadlock without."""
    step = '<step s="{}" type="{}" srcbuf="i" srcoff="{}" dstbuf="o" dstoff="{}" cnt="1" '
    step += 'depid="-1" deps="-1" hasdep="0"/>\n'
    gpus = ""
    for rank in (0, 1):
        inside = step.format(0, "s", 0, rank) + step.format(1, "r", 0, 1 - rank) + step.format(2, "cpy", 0, rank)
        gpus += f'<gpu id="{rank}" i_chunks="1" o_chunks="2" s_chunks="0">\n'
        gpus += f'<tb id="0" send="{1 - rank}" recv="{1 - rank}" chan="0">\n{inside}</tb>\n</gpu>\n'
    text = (
        '<algo name="x" proto="LL" nchannels="1" nchunksperloop="2" ngpus="2" coll="allgather" inplace="0" '
        f'outofplace="1" minBytes="0" maxBytes="0">\n{gpus}</algo>\n'
    )
    with pytest.raises(VerificationError, match="“rendezvous”"):
        check_msccl(text, "executor", ranks=2, kind="allgather")


def test_limits_are_told_by_name() -> None:
    """A file made for a loader without limits breaks each limit of the real one, and says which."""
    one = placed(compiled("one A100 box", Kind.ALLREDUCE))
    large = placed(compile(star(3), Kind.ALLREDUCE), 70)
    text = msccl(one)
    endless = replace(LOADERS["rccl"], steps=10**6, blocks=10**6, channels=10**6)
    line = steps(text, "s")[0]
    broken = {
        "steps of a block": (msccl(large, endless), large),
        "blocks of a rank": (msccl(large, replace(endless, steps=2)), large),
        "channels": (changed(text, 0, nchannels=129), one),
        "depid": (changed(text, line, depid=128), one),
        "cnt": (changed(text, line, cnt=72), one),
        "offsets": (changed(text, line, srcoff=32768), one),
        "length of names": (changed(text, 0, name="x" * 256), one),
        "attributes": (text.replace("<algo", "<algo" + "".join(f' x{c}="1"' for c in "abcdefg"), 1), one),
    }  # fmt: skip
    assert broken.keys() <= {rule.name for rule in RULES}
    for rule, (file, placement) in broken.items():
        with pytest.raises(InputError, match=rf"its limit “{rule}”: .* has \d+, at most \d+ are allowed; [a-z]"):
            load_msccl(file, placement, "rccl")


def test_loaders_differ() -> None:
    """What one loader holds another refuses; the names of collectives differ too."""
    placement = placed(compile(star(3), Kind.ALLGATHER), 70)
    text = msccl(placement, "msccl")
    assert load_msccl(text, placement, "msccl") == moved(placement)
    with pytest.raises(InputError, match="“steps of a block”"):
        load_msccl(text, placement, "rccl")
    scatter = placed(compiled("one A100 box", Kind.REDUCE_SCATTER))
    assert 'coll="reduce_scatter"' in msccl(scatter, "msccl")
    with pytest.raises(VerificationError, match="the loader calls it reducescatter"):
        load_msccl(msccl(scatter, "msccl"), scatter, "executor")


def test_the_text_of_a_small_plan(golden: Any) -> None:
    golden.check(msccl(placed(compile(star(3), Kind.ALLREDUCE))), "msccl-xml")
