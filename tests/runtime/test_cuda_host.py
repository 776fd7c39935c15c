"""The persistent kernel's source on the host, against the interpreter, bit for bit."""

from __future__ import annotations

import ctypes
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_host import World, build, compiler
from handmade import handmade
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import collsched
from collsched.collective import KINDS, Kind
from collsched.runtime.dtypes import DTYPES, OPS, carrier, decode, encode
from collsched.runtime.encode import Shape
from collsched.runtime.interpreter import interpret
from collsched.runtime.layout import Role

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

Array = np.ndarray[Any, Any]
NUMPY = [name for name in DTYPES if name != "bfloat16"]
SMALL = Shape(stripes=2, depth=2, slot=64)  # pieces of 48 bytes: many rounds


def data(plan: Any, dtype: str, count: int) -> list[Array | None]:
    """Inputs whose reductions round, at every distance from a multiple of 16 bytes."""
    schedule = plan.schedule()
    inputs: list[Array | None] = []
    for rank in range(len(plan.topology.ranks)):
        role = Role(plan.collective, schedule.chunks, rank)
        random = np.random.default_rng([rank, count])
        size = role.size(role.given, count) + 5
        values = random.uniform(0, 100, size) if dtype.startswith("u") else random.normal(0, 50, size)
        inputs.append(None if role.gives == "nothing" else values.astype(dtype)[rank % 5 :][: size - 5])
    return inputs


def wrong(library: ctypes.CDLL, plan: Any, cases: Any, shape: Shape, threads: int = 1) -> list[Any]:
    """The cases, of one number of stripes, in which some rank's output differs from the interpreter's. Every case is
    called twice in a row, without a rest between, and the second time in place if that can be."""
    world = World(library, plan, shape, threads)
    found = []
    for dtype, count, op in cases:
        inputs = data(plan, dtype, count)
        expected = interpret(plan.topology, plan.schedule(), inputs, count, op)
        first, second = ([None if e is None else np.full_like(e, 77) for e in expected] for _ in range(2))
        copies = [None if x is None else x.copy() for x in inputs]
        for i, (x, out) in enumerate(zip(copies, second, strict=True)):
            if x is not None and out is not None and x.size == out.size and plan.collective.kind != Kind.ALL_TO_ALL:
                second[i] = x
        before = [None if x is None else x.tobytes() for x in inputs]
        verdicts = world.run([(inputs, first, count), (copies, second, count)], dtype, op)
        assert set(verdicts) == {0}, (dtype, count, op, verdicts, [rank.board for rank in world.ranks])
        for rank, outputs in enumerate(zip(expected, first, second, strict=True)):
            if len({None if out is None else out.tobytes() for out in outputs}) != 1:
                found.append((dtype, count, op, rank))
        if before != [None if x is None else x.tobytes() for x in inputs]:
            found.append((dtype, count, op, "input changed"))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_and_size(library: ctypes.CDLL, kind: Kind) -> None:
    plan = handmade(5, kind, k=2, seed=1)
    ops = cycle(OPS if kind.reduces else ("sum",))
    cases = [(dtype, count, next(ops)) for dtype in NUMPY for count in (0, 1, 7, 97, 1009)]
    assert wrong(library, plan, cases, SMALL) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_relays_roots_and_kept_versions(library: ctypes.CDLL, kind: Kind, seed: int) -> None:
    options: dict[str, Any] = {"root": 3} if kind.rooted else {}
    plan = handmade(6, kind, k=3, seed=seed, group=[1, 3, 4], **options)
    cases = [("float32", count, "sum") for count in (0, 1, 255, 4099)] + [("int8", 5003, "sum")]
    assert wrong(library, plan, cases, Shape(4, 4, 128)) == []


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_of_a_block_share_its_work(library: ctypes.CDLL, threads: int) -> None:
    plan = handmade(3, Kind.ALLREDUCE, k=2, seed=4)
    cases = [(dtype, count, "sum") for dtype in ("float16", "float64", "uint8") for count in (1, 1009, 20_011)]
    assert wrong(library, plan, cases, Shape(2, 2, 4096), threads) == []


@pytest.mark.parametrize("kind", [Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE, Kind.GATHER, Kind.SCATTER])
def test_unequal_shards(library: ctypes.CDLL, kind: Kind) -> None:
    plan = handmade(4, kind, k=2, shards={"r0": 3, "r1": 0, "r2": 1, "r3": 7})
    assert wrong(library, plan, [("float32", count, "sum") for count in (0, 1, 11, 12, 1009)], SMALL) == []


@pytest.mark.parametrize("name", ["dgx-a100", "torus-2d", "dgx1-v100", "random-switched"])
def test_compiled_plans(library: ctypes.CDLL, name: str) -> None:
    options = {"dgx-a100": {"boxes": 1}, "random-switched": {"ranks": 4, "per_switch": 2, "degree": 2}}
    topology = collsched.bundled(name, **options.get(name, {}))
    for kind in (Kind.ALLREDUCE, Kind.REDUCE_SCATTER, Kind.ALL_TO_ALL):
        plan = collsched.compile(topology, kind)
        assert wrong(library, plan, [("float32", 40_009, "sum")], Shape(2, 4, 1024)) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ranks=st.integers(1, 7),
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 999),
    k=st.integers(1, 4),
    shape=st.builds(Shape, st.integers(1, 5), st.sampled_from([1, 2, 4, 8]), st.sampled_from([32, 64, 176, 1024])),
    dtype=st.sampled_from(NUMPY),
    count=st.integers(0, 3000),
)
def test_any_program_in_any_shape(
    library: ctypes.CDLL, ranks: int, kind: Kind, seed: int, k: int, shape: Shape, dtype: str, count: int
) -> None:
    plan = handmade(ranks, kind, seed=seed, k=k)
    assert wrong(library, plan, [(dtype, count, "sum")], shape) == []


def test_many_calls_in_a_row_with_ranks_that_run_ahead(library: ctypes.CDLL) -> None:
    """The flags of one call are those of the next; in a broadcast nothing but mailboxes holds the root back."""
    plan = handmade(4, Kind.BROADCAST, k=2, root=1, seed=5)
    world = World(library, plan, Shape(2, 2, 64))
    random = np.random.default_rng(0)
    calls, sizes = [], [5, 300, 0, 64, 1009] * 20
    for count in sizes:
        given = random.integers(0, 99, count).astype(np.int32)
        calls.append(
            ([given if rank == 1 else None for rank in range(4)], [np.empty_like(given) for _ in range(4)], count)
        )
    assert world.run(calls, "int32", "sum") == [0] * 4
    for inputs, outputs, _ in calls:
        assert all(np.array_equal(inputs[1], out) for out in outputs)


def test_a_rank_that_does_not_come_ends_the_others(library: ctypes.CDLL) -> None:
    plan = handmade(4, Kind.ALLREDUCE, seed=1)
    world = World(library, plan, SMALL)
    inputs = [np.ones(500, np.float32) for _ in range(4)]
    outputs = [np.ones(500, np.float32) for _ in range(4)]
    assert world.run([(inputs, outputs, 500)], "float32", "sum", limit=0.3, absent=[2]) == [
        99 << 32,
        99 << 32,
        0,
        99 << 32,
    ]
    waits = [int(wait) & 0xFFFF for rank in (0, 1, 3) for wait in world.ranks[rank].board[2:]]
    assert 3 in waits  # somebody waits for rank 2


def test_poison_reaches_everybody(library: ctypes.CDLL) -> None:
    """One rank is told to stop, or finds that another called something else."""
    world = World(library, handmade(4, Kind.ALLREDUCE, seed=1), SMALL)
    inputs = [np.ones(5000, np.float32) for _ in range(4)]
    world.ranks[3].arena[:8].view(np.uint64)[0] = 5 << 32
    verdicts = world.run([(inputs, [x.copy() for x in inputs], 5000)], "float32", "sum", absent=[0])
    assert verdicts == [0, 5 << 32, 5 << 32, 5 << 32]


def test_ranks_that_called_different_things_stop(library: ctypes.CDLL) -> None:
    world = World(library, handmade(3, Kind.ALLREDUCE, seed=1), SMALL)
    inputs = [np.ones(5000, np.float32) for _ in range(3)]
    verdicts = world.run([(inputs, [x.copy() for x in inputs], 5000)], "float32", "sum", stamps=[7, 7, 8])
    assert all(verdict >> 32 == 1 for verdict in verdicts)


def folded(library: ctypes.CDLL, dtype: str, op: str, sources: list[Array], divisor: int = 1) -> Array:
    """The sources combined by the kernel for lists of jobs."""
    target = np.full_like(sources[0], 77)
    job = np.array([target.ctypes.data, target.size, 0, len(sources), int(divisor > 1)], np.int64)
    table = np.array([source.ctypes.data for source in sources], np.uint64)
    library.collsched_host_jobs(
        ctypes.c_void_p(job.ctypes.data), ctypes.c_int64(1), ctypes.c_void_p(table.ctypes.data),
        ctypes.c_uint32(divisor), DTYPES.index(dtype), ("sum", "prod", "min", "max").index(op),
    )  # fmt: skip
    return target


@pytest.mark.parametrize("op", ["sum", "prod", "min", "max"])
def test_every_float16(library: ctypes.CDLL, op: str) -> None:
    """Each once, infinities, NaN and subnormals too, against random partners."""
    every = np.arange(1 << 16, dtype=np.uint16)
    a, b = every.view(np.float16), np.random.default_rng(0).permutation(every).view(np.float16)
    with np.errstate(all="ignore"):
        right = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}[op](a, b)
    got = folded(library, "float16", op, [a, b])
    assert np.all((got.view(np.uint16) == right.view(np.uint16)) | (np.isnan(got) & np.isnan(right)))


def test_bfloat16_is_float32_rounded(library: ctypes.CDLL) -> None:
    random = np.random.default_rng(1)
    a, b = (encode(random.normal(0, 100, 20_011), "bfloat16") for _ in range(2))
    right = encode(decode(a, "bfloat16") + decode(b, "bfloat16"), "bfloat16")
    assert np.array_equal(folded(library, "bfloat16", "sum", [a, b]), right)


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("offsets", [(0, 0, 0), (1, 1, 1), (3, 1, 0)])
def test_jobs_of_several_sources_and_an_average(
    library: ctypes.CDLL, dtype: str, offsets: tuple[int, int, int]
) -> None:
    random = np.random.default_rng(2)
    sources = [random.integers(0, 40, 1000 + at).astype(dtype)[at:] for at in offsets]
    total = sources[0] + sources[1] + sources[2]
    right = (total / 3 if "float" in dtype else np.trunc(total / 3)).astype(carrier(dtype))
    assert np.array_equal(folded(library, dtype, "sum", sources, 3), right)


def test_structures_are_as_python_writes_them(library: ctypes.CDLL) -> None:
    sizes = np.zeros(8, np.int64)
    library.collsched_host_sizes(ctypes.c_void_p(sizes.ctypes.data))
    assert sizes.tolist() == [3 * 4, 9 * 4, 5 * 8, 7 * 8, 2 * 8, 12 * 8, 5 * 8, 256]


def test_race_detector(tmp_path: Path) -> None:
    """The protocol under ThreadSanitizer, which knows the flags' acquire and release, and sees the data as plain."""
    import os
    import subprocess
    import sys

    found = subprocess.run([str(compiler()), "-print-file-name=libtsan.so"], capture_output=True, text=True)
    runtime = Path(found.stdout.strip())
    if not runtime.is_file():
        pytest.skip("no libtsan beside the compiler")
    build(tmp_path / "host.so", "-fsanitize=thread", "-O1", "-g", "-DCOLLSCHED_TYPES(visit)=visit(6, i32)")
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("cuda_races.py")), str(tmp_path / "host.so")],
        env={**os.environ, "LD_PRELOAD": str(runtime.resolve()), "TSAN_OPTIONS": "exitcode=66 report_bugs=1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "unexpected memory mapping" in result.stderr:
        pytest.skip("ThreadSanitizer does not work with this kernel's address space")
    assert result.returncode == 0, result.stderr[-4000:]
    assert "right" in result.stdout
