"""What a user passes and gets: in place and out of place, buffers of all sorts, and messages for mistakes."""

from __future__ import annotations

import array
import re
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from handmade import handmade, mesh
from ranks import on_processes, on_ranks

import collsched
from collsched.collective import Kind
from collsched.errors import EngineError, InputError
from collsched.runtime import connect, require_engine
from collsched.runtime.communicator import Communicator
from collsched.runtime.shm import Tuning

RANKS = 3


def filled(rank: int, count: int) -> np.ndarray[Any, Any]:
    return (np.arange(count) + 100 * rank).astype(np.int64)


def total(count: int) -> np.ndarray[Any, Any]:
    return sum(filled(rank, count) for rank in range(RANKS))  # type: ignore[return-value]


def test_allreduce_in_place() -> None:
    def body(communicator: Communicator) -> bool:
        x = filled(communicator.rank, 24).reshape(2, 3, 4)
        return communicator.allreduce(x) is x and np.array_equal(x.ravel(), total(24))

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [True] * RANKS


def test_allgather_makes_its_output_and_works_in_place() -> None:
    expected = np.concatenate([filled(rank, 1000) for rank in range(RANKS)])

    def body(communicator: Communicator) -> list[bool]:
        rank = communicator.rank
        fresh = communicator.allgather(filled(rank, 1000))
        whole = np.zeros(3000, np.int64)
        whole[rank * 1000 : (rank + 1) * 1000] = filled(rank, 1000)
        communicator.allgather(whole[rank * 1000 : (rank + 1) * 1000], whole)
        return [np.array_equal(fresh, expected), np.array_equal(whole, expected)]

    plan = handmade(RANKS, Kind.ALLGATHER)
    assert on_ranks(plan, body, Tuning(arena=1024, timeout=20)) == [[True, True]] * RANKS


def test_reduce_scatter_makes_its_output_and_works_in_place() -> None:
    def body(communicator: Communicator) -> list[bool]:
        mine = slice(communicator.rank * 1000, (communicator.rank + 1) * 1000)
        x = filled(communicator.rank, 3000)
        fresh = communicator.reduce_scatter(x)
        communicator.reduce_scatter(x, x[mine])
        return [np.array_equal(fresh, total(3000)[mine]), np.array_equal(x[mine], total(3000)[mine])]

    plan = handmade(RANKS, Kind.REDUCE_SCATTER)
    assert on_ranks(plan, body, Tuning(arena=1024, timeout=20)) == [[True, True]] * RANKS


def test_rooted_collectives() -> None:
    def broadcast(communicator: Communicator) -> list[int]:
        x = filled(communicator.rank, 5)
        return [int(v) for v in communicator.broadcast(x)]

    def reduce(communicator: Communicator) -> list[int] | None:
        result = communicator.reduce(filled(communicator.rank, 5))
        return None if result is None else [int(v) for v in result]

    def gather(communicator: Communicator) -> list[int] | None:
        result = communicator.gather(filled(communicator.rank, 2))
        return None if result is None else [int(v) for v in result]

    def scatter(communicator: Communicator) -> list[int]:
        root = communicator.rank == 1
        result = communicator.scatter(filled(7, 6)) if root else communicator.scatter(out=np.zeros(2, np.int64))
        return [int(v) for v in result]

    assert on_ranks(handmade(RANKS, Kind.BROADCAST, root=1), broadcast) == [[100, 101, 102, 103, 104]] * RANKS
    assert on_ranks(handmade(RANKS, Kind.REDUCE, root=1), reduce) == [None, [int(v) for v in total(5)], None]
    assert on_ranks(handmade(RANKS, Kind.GATHER, root=1), gather) == [None, [0, 1, 100, 101, 200, 201], None]
    assert on_ranks(handmade(RANKS, Kind.SCATTER, root=1), scatter) == [[700, 701], [702, 703], [704, 705]]


def test_all_to_all() -> None:
    def body(communicator: Communicator) -> list[Any]:
        rank = communicator.rank
        fresh = communicator.all_to_all(filled(rank, 6))
        x = filled(rank, 6)
        communicator.all_to_all(x, x)
        odd = communicator.all_to_all(filled(rank, 5))
        return [fresh.tolist(), x.tolist(), odd.tolist()]

    whole = [[100 * source + 2 * rank + i for source in range(3) for i in (0, 1)] for rank in range(3)]
    odd = [[100 * source + i for source in range(3) for i in part] for part in ((0,), (1, 2), (3, 4))]
    expected = [[a, a, b] for a, b in zip(whole, odd, strict=True)]
    plan = collsched.compile(mesh(RANKS), Kind.ALL_TO_ALL)
    assert on_ranks(plan, body) == expected
    assert on_ranks(plan, body, Tuning(arena=1024, segment=64, timeout=20)) == expected


def test_calls_that_nobody_waits_for_run_in_order() -> None:
    def body(communicator: Communicator) -> list[Any]:
        arrays = [np.full(50_000, i + communicator.rank, np.int64) for i in range(20)]
        handles = [communicator.allreduce(x, wait=False) for x in arrays]
        same = communicator.allreduce(np.ones(1)).tolist()  # after all of them
        done = [handle.done() for handle in handles]
        results = [handle.wait() is x for handle, x in zip(handles, arrays, strict=True)]
        return [same, all(done), all(results), all((x == 3 * i + 3).all() for i, x in enumerate(arrays))]

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[[3.0], True, True, True]] * RANKS


def test_calls_go_on_while_the_caller_computes() -> None:
    def body(communicator: Communicator) -> bool:
        handle = communicator.allreduce(np.ones(1000), wait=False)
        deadline = time.monotonic() + 10
        while not handle.done() and time.monotonic() < deadline:
            sum(range(1000))
        return handle.done() and handle.wait(0).tolist() == [3.0] * 1000

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [True] * RANKS


def test_an_error_of_a_call_that_nobody_waits_for_waits_in_its_handle() -> None:
    def body(communicator: Communicator) -> list[Any]:
        bad = communicator.allreduce(np.ones(3 + (communicator.rank == 1)), wait=False)
        good = communicator.allreduce(np.ones(3), wait=False)
        with pytest.raises(EngineError, match="the ranks disagree in call 1: rank 0 made allreduce of 3"):
            bad.wait()
        return good.wait().tolist()

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[3.0] * 3] * RANKS


def test_waiting_has_a_limit() -> None:
    def body(communicator: Communicator) -> list[float]:
        if communicator.rank == 0:
            time.sleep(0.3)
        handle = communicator.allreduce(np.ones(1), wait=False)
        if communicator.rank == 1:
            with pytest.raises(TimeoutError, match=r"the call is not done after 0\.01 s"):
                handle.wait(0.01)
        return handle.wait().tolist()

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[3.0]] * RANKS


def test_average_divides_integers_towards_zero() -> None:
    def body(communicator: Communicator) -> list[float]:
        values = np.array([[5, -5, 3], [2, -2, 3], [1, -1, 3]][communicator.rank])
        integers = communicator.allreduce(values.astype(np.int8), op="avg")
        floats = communicator.allreduce(values.astype(np.float32), op="avg")
        return [*integers.tolist(), *floats.tolist()]

    third = float(np.float32(8) / np.float32(3))
    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[2, -2, 3, third, -third, 3.0]] * RANKS


def test_buffers_that_are_not_numpy() -> None:
    class OnlyDlpack:
        def __init__(self, inner: np.ndarray[Any, Any]) -> None:
            self.inner = inner

        def __dlpack__(self, **options: Any) -> Any:
            return self.inner.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.inner.__dlpack_device__()

    def body(communicator: Communicator) -> list[Any]:
        numbers = array.array("d", [1.5, communicator.rank])
        communicator.allreduce(numbers)
        raw = bytearray([1, 2, communicator.rank])
        communicator.allreduce(memoryview(raw), op="max")
        inner = np.full(4, 2.0, np.float32)
        communicator.allreduce(OnlyDlpack(inner))
        constant = np.ones(2, np.int32)
        constant.flags.writeable = False
        out = communicator.allreduce(constant, np.zeros(2, np.int32))
        return [list(numbers), list(raw), inner.tolist(), out.tolist()]

    expected = [[4.5, 3.0], [1, 2, 2], [6.0] * 4, [3, 3]]
    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [expected] * RANKS


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")

    def body(communicator: Communicator) -> list[Any]:
        results: list[Any] = []
        for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int32, torch.uint8):
            x = torch.full((2, 2), 1.5 + communicator.rank).to(dtype)
            results.append([communicator.allreduce(x) is x, x.tolist()])
        out = torch.zeros(2)
        communicator.allreduce(torch.ones(2), out, wait=False).wait()
        with pytest.raises(InputError, match=r"requires a gradient: pass x\.detach\(\)"):
            communicator.allreduce(torch.ones(2, requires_grad=True))
        with pytest.raises(InputError, match="C-contiguous"):
            communicator.allreduce(torch.ones(2, 3).t())
        return [*results, out.tolist()]

    expected = [[True, [[value] * 2] * 2] for value in (7.5, 7.5, 7.5, 6, 6)]
    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[*expected, [3.0, 3.0]]] * RANKS


def test_bfloat16_of_a_package() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")

    def body(communicator: Communicator) -> list[float]:
        x = np.full(3, 1.5 + communicator.rank, ml_dtypes.bfloat16)
        return [float(value) for value in communicator.allreduce(x)]

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[7.5] * 3] * RANKS


def test_arrays_that_only_tell_their_address() -> None:
    class Plain:
        def __init__(self, inner: np.ndarray[Any, Any]) -> None:
            self.inner = inner
            self.__array_interface__ = inner.__array_interface__

    def body(communicator: Communicator) -> list[float]:
        x = Plain(np.ones(3))
        return communicator.allreduce(x).inner.tolist()

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[3.0] * 3] * RANKS


def test_arrays_of_gpus_are_refused() -> None:
    class OfCupy:
        __cuda_array_interface__: ClassVar[dict[str, Any]] = {}
        shape, dtype = (3,), "float32"

    class OfRocm:
        shape, dtype = (3,), "float32"

        def __dlpack_device__(self) -> tuple[int, int]:
            return 10, 0

    def body(communicator: Communicator) -> list[str]:
        said = []
        for mistake in (OfCupy(), OfRocm()):
            with pytest.raises(InputError) as error:
                communicator.allreduce(mistake)
            said.append(str(error.value))
        return said

    tail = "memory; the engine works in CPU memory: copy it there, or run on the nccl or cuda engine"
    expected = [
        f"OfCupy of float32, shape (3,) lives in cuda {tail}",
        f"OfRocm of float32, shape (3,) lives in rocm {tail}",
    ]
    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [expected] * RANKS


def test_empty_makes_arrays_of_any_shape_and_gives_their_memory_back() -> None:
    def body(communicator: Communicator) -> list[Any]:
        resident = lambda: int(re.search(r"RssShmem:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index] # noqa: E731
        start = resident()
        for _ in range(20):
            x = communicator.empty((1 << 10, 1 << 10), "float16")
            x[:] = communicator.rank
            communicator.allreduce(x)
        grown = resident() - start
        none = communicator.empty(0)
        return [
            x.shape,
            str(x.dtype),
            float(x.min()),
            float(x.max()),
            grown < 40 << 10,
            communicator.allreduce(none).size,
        ]

    assert on_ranks(handmade(RANKS, Kind.ALLREDUCE), body) == [[[1024, 1024], "float16", 3.0, 3.0, True, 0]] * RANKS


def test_several_communicators_at_once_in_different_orders() -> None:
    plans = [handmade(RANKS, Kind.ALLREDUCE, seed=seed) for seed in range(3)]

    def body(rank: int) -> list[bool]:
        communicators = [connect(plan, tuning=Tuning(timeout=20)) for plan in plans]
        handles = {}
        for i in np.random.default_rng(rank).permutation(9):  # every rank begins them in an order of its own
            which, x = i % 3, np.full(1000 + i % 3, rank)
            handles.setdefault(which, []).append(communicators[which].allreduce(x, wait=False))
        return [bool((handle.wait() == 3).all()) for each in handles.values() for handle in each]

    assert on_processes(RANKS, body) == [[True] * 9] * RANKS


MISTAKES: list[tuple[str, Any]] = [
    ("compiled for allreduce, not allgather; compile one with `-c allgather`", lambda c: c.allgather(np.zeros(3))),
    ("gives the whole buffer to this allreduce: pass it as x", lambda c: c.allreduce()),
    ("expected a C-contiguous array in CPU memory", lambda c: c.allreduce(np.zeros((4, 4))[:, ::2])),
    ("expected a C-contiguous array in CPU memory", lambda c: c.allreduce([1.0, 2.0])),
    ("the engine has float16, bfloat16", lambda c: c.allreduce(np.zeros(3, np.complex64))),
    ("reduction 'mean'; choose sum, prod, min, max, avg", lambda c: c.allreduce(np.zeros(3), op="mean")),
    ("element type 'float8'", lambda c: c.allreduce(np.zeros(3, np.int8), dtype="float8")),
    ("input is float64, output float32", lambda c: c.allreduce(np.zeros(3), np.zeros(3, np.float32))),
    ("takes 3 and 3", lambda c: c.allreduce(np.zeros(3), np.zeros(2))),
    ("the output is read-only", lambda c: c.allreduce(np.broadcast_to(np.zeros(1), (1,)))),
    ("overlap, and not as they do in place", lambda c: c.allreduce(c.shared[:-1], c.shared[1:])),
    ("does not fit its type", lambda c: c.allreduce(np.zeros(3), dtype="float32")),
]


def test_mistakes_are_named_and_the_communicator_stays_usable() -> None:
    def body(communicator: Communicator) -> list[Any]:
        communicator.shared = np.zeros(64)  # type: ignore[attr-defined]
        said = []
        for _, mistake in MISTAKES:
            try:
                said.append(f"nothing, but returned {mistake(communicator)}")
            except Exception as error:
                said.append(str(error))
        return [said, communicator.allreduce(np.ones(2)).tolist()]

    for said, after in on_ranks(handmade(RANKS, Kind.ALLREDUCE), body):
        for (expected, _), text in zip(MISTAKES, said, strict=True):
            assert expected in text
        assert after == [3.0, 3.0]


def test_a_rank_outside_the_group_calls_without_data() -> None:
    def body(communicator: Communicator) -> Any:
        if communicator.rank == 1:
            with pytest.raises(InputError, match="rank 1 is not in the group of this allreduce: call it without data"):
                communicator.allreduce(np.zeros(3))
            return communicator.allreduce()
        return communicator.allreduce(np.full(3, 2.0)).tolist()

    plan = handmade(4, Kind.ALLREDUCE, group=[0, 2, 3], seed=5)
    assert on_ranks(plan, body) == [[6.0] * 3, None, [6.0] * 3, [6.0] * 3]


def test_sizes_that_do_not_tell_the_whole() -> None:
    def body(communicator: Communicator) -> Any:
        mine = [np.arange(2.0), np.zeros(0), np.arange(3.0)][communicator.rank]
        if communicator.rank != 0:
            with pytest.raises(InputError, match="do not tell the size of the whole buffer; pass count="):
                communicator.allgather(mine)
        return communicator.allgather(mine, count=5).tolist()

    plan = handmade(RANKS, Kind.ALLGATHER, shards={"r0": 1, "r1": 0, "r2": 2})
    # floor(5 × 1/3) = 1 element of rank 0 would not fit its two
    assert all("takes 1 and 5" in str(text) for text in on_ranks(plan, body)[:1])


def test_several_communicators_at_once() -> None:
    first, second = handmade(RANKS, Kind.ALLREDUCE), handmade(RANKS, Kind.ALLGATHER, seed=3)

    def body(communicator: Communicator) -> list[Any]:
        x = np.ones(10)
        with connect(second) as other:
            for _ in range(5):
                communicator.allreduce(x)
                gathered = other.allgather(x[:1])
        return [x.tolist(), gathered.tolist()]

    assert on_ranks(first, body) == [[[243.0] * 10, [243.0] * 3]] * RANKS


def test_one_rank_needs_no_launcher() -> None:
    from ranks import on_processes

    def alone(_rank: int) -> Any:
        import collsched.runtime.shm as shm

        shm._process = None  # as in a process that nobody launched
        with connect(handmade(1, Kind.ALLREDUCE)) as communicator:
            return communicator.allreduce(np.arange(3.0)).tolist()

    assert on_processes(1, alone) == [[0.0, 1.0, 2.0]]


def test_outside_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLLSCHED_SHM_FD", raising=False)
    with pytest.raises(InputError, match="start it with `collsched launch -n 3"):
        connect(handmade(RANKS, Kind.ALLREDUCE))


def test_names_of_engines() -> None:
    assert require_engine("auto") == "shm"
    assert require_engine("cuda") == "cuda"
    with pytest.raises(InputError, match="choose auto, shm, mpi, nccl, cuda"):
        require_engine("gloo")
