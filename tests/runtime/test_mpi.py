"""The mpi engine under Open MPI and MPICH. A launch costs seconds, so each runs many cases."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from mpi_kills import kill_once
from mpirun import WORKER, Mpi, Outcome, finish, mpi  # noqa: F401 (a fixture)
from test_matrix import TOPOLOGIES, compiled

from collsched.errors import InputError
from collsched.runtime.mpi import Tuning

ALL = range(3)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """For each number of ranks, a folder with a folder for each topology: its plans, and who takes part."""
    root = tmp_path_factory.mktemp("plans")
    folders: defaultdict[int, Path] = defaultdict()
    for number, (name, *_) in enumerate(TOPOLOGIES):
        made, members = compiled(number)
        ranks = len(made[0].topology.ranks)
        folders[ranks] = root / str(ranks)
        folder = folders[ranks] / f"{number:02}-{name}"
        folder.mkdir(parents=True)
        (folder / "group").write_text(json.dumps(members))
        for plan in made:
            plan.save(folder / f"{plan.collective.kind}.cs")
    return dict(folders)


def test_every_collective_type_and_size_on_every_topology(mpi: Mpi, plans: dict[int, Path]) -> None:  # noqa: F811
    assert {2, 3, 4, 8} <= plans.keys()
    for ranks, folder in plans.items():
        done = mpi.run(ranks, f"matrix:{folder}")
        assert done.told("matrix") == {rank: [] for rank in range(ranks)}, done.stderr
        assert done.code == 0, done.stderr


@pytest.fixture(scope="module")
def good(mpi: Mpi) -> Outcome:  # noqa: F811
    """Modes after which the communicators are usable, in one launch."""
    done = mpi.run(len(ALL), "exact", "together", "traced", "disagree", "plans")
    assert (done.code, done.stderr) == (0, "")
    return done


def test_fractions_have_the_bits_of_the_interpreter(good: Outcome) -> None:
    assert good.told("exact") == {rank: [] for rank in ALL}


def test_disagreement_is_an_error_everywhere_and_the_communicator_stays(good: Outcome) -> None:
    texts = good.told("disagree")[0]
    assert good.told("disagree") == dict.fromkeys(ALL, texts)
    sizes, types, reductions = ("5 int32", "6 int32"), ("5 int32", "5 int64"), ("5 float64", "5 float64")
    ends = (" (sum)", " (sum)"), (" (sum)", " (sum)"), (" (min)", " (max)")
    for i, (calls, end) in enumerate(zip((sizes, types, reductions), ends, strict=True)):
        one, two = (call + op for call, op in zip(calls, end, strict=True))
        for call, text in ((i + 1, texts[i]), (i + 5, texts[i + 3])):
            assert text == (
                f"EngineError: the ranks disagree in call {call}: rank 0 made allreduce of {one}, "
                f"rank 1 made allreduce of {two}"
            )


def test_other_plans_and_settings_and_numbers_of_ranks_are_errors(good: Outcome) -> None:
    assert good.told("plans").keys() == set(ALL)
    for plan, settings, size in good.told("plans").values():
        names = "rank 0 handmade-3-allreduce-7, rank 1 handmade-3-allreduce-8"
        assert plan == f"EngineError: the ranks brought different plans: {names}"
        assert "different versions or settings: rank 0" in settings and "window=3" in settings
        assert size == "InputError: the plan has 4 ranks, this job 3; use `mpirun -n 4 python …`"


def test_communicators_call_at_the_same_time_and_are_traced(good: Outcome) -> None:
    assert good.told("together") == dict.fromkeys(ALL, "fine")
    assert good.told("traced").keys() == set(ALL)
    for transfers, expected in good.told("traced").values():
        assert transfers == expected > 0


def test_an_mpi_with_less_support_of_threads(mpi: Mpi) -> None:  # noqa: F811
    """Threads take turns, or calls on them are an error."""
    done = mpi.run(2, "together", MPI4PY_RC_THREAD_LEVEL="serialized")
    assert done.told("together") == {0: "fine", 1: "fine"}, done.stderr
    done = mpi.run(2, "main_thread", MPI4PY_RC_THREAD_LEVEL="funneled")
    assert done.told("main_thread").keys() == {0, 1}, done.stderr
    for text, x in done.told("main_thread").values():
        assert text.startswith("EngineError: this MPI serves its main thread only (MPI_THREAD_FUNNELED)")
        assert x == [2.0] * 5


@pytest.mark.parametrize("wrong", [{"segment": 0}, {"window": 0}, {"timeout": -1.0}, {"message": 1 << 31}])
def test_sizes_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected positive sizes, and messages of at most 2,147,483,647 bytes"):
        Tuning(**wrong)  # type: ignore[arg-type]


def test_a_rank_that_is_killed_is_named(mpi: Mpi) -> None:  # noqa: F811
    """By the others, or by the launcher, which ends them at once: Open MPI's tells the rank, MPICH's the process."""
    done = mpi.run(len(ALL), "killed")
    assert done.code != 0
    output = done.stdout + done.stderr
    assert "rank 1 ended" in output or "process rank 1 with PID" in output or "EXIT CODE: 9" in output
    for first, *_ in done.told("killed").values():
        assert "rank 1 ended" in first and "call 4, allreduce of 300,000 float32 (sum)" in first


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_any_moment_ends_the_job(mpi: Mpi, seed: int) -> None:  # noqa: F811
    assert kill_once(mpi, seed).wrong == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_ranks(mpi: Mpi, number: int) -> None:  # noqa: F811
    job = mpi.popen(len(ALL), sys.executable, WORKER, "endless")
    assert job.stdout is not None
    processes = [json.loads(job.stdout.readline())[3] for _ in ALL]
    job.send_signal(number)
    job.communicate(timeout=30)
    assert job.returncode != 0
    assert_gone(processes)


def assert_gone(processes: list[int]) -> None:
    end = time.monotonic() + 10
    while any(Path(f"/proc/{process}").exists() for process in processes):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.05)


def test_a_rank_that_does_not_come_is_named(mpi: Mpi) -> None:  # noqa: F811
    done = mpi.run(len(ALL), "sleeps")
    assert done.code != 0
    assert done.told("sleeps").keys() == {0, 2}, done.stderr
    for first, again, seconds in done.told("sleeps").values():
        assert "rank 1 did not come to call 4, allreduce of 300,000 float32 (sum) within 1 s" in first
        assert "rank 1 did not come to call 4" in again
        assert seconds < 6


def test_a_rank_that_stops_in_a_call_is_named_with_step_and_link(mpi: Mpi) -> None:  # noqa: F811
    done = mpi.run(len(ALL), "stopped")
    assert done.code != 0
    assert done.told("stopped").keys() == {0, 2}, done.stderr
    for first, *_ in done.told("stopped").values():
        assert "rank 1 did nothing for 1 s" in first, done.stderr
        assert " at step " in first and " from rank " in first


def test_a_rank_that_comes_late_to_connect_is_named(mpi: Mpi) -> None:  # noqa: F811
    done = mpi.run(len(ALL), "late_connect")
    assert done.code != 0
    for rank in (0, 2):
        assert "rank 1 did not come to connect within 1 s" in done.told("late_connect")[rank], done.stderr


@pytest.mark.parametrize("mode", ["closes", "raises"])
def test_a_rank_that_ends_early_fails_the_others(mpi: Mpi, mode: str) -> None:  # noqa: F811
    done = mpi.run(len(ALL), mode)
    assert done.code != 0
    for rank in (0, 2):
        first, _, seconds = done.told(mode)[rank]
        assert "rank 1 ended, or closed its communicator, after 3 calls, which rank" in first
        assert "needs in call 4, allreduce of 300,000 float32 (sum)" in first
        assert seconds < 10
    assert ("a mistake of the user" in done.stderr) == (mode == "raises")


def test_collsched_run_checks_every_element(mpi: Mpi, plans: dict[int, Path]) -> None:  # noqa: F811
    plan = next(plans[4].glob("*/allreduce.cs"))
    main = (sys.executable, "-m", "collsched.cli.main", "run", plan)
    done = finish(mpi.popen(4, *main, "--engine", "mpi", "--dtype", "float16", "--json"))
    report = json.loads(done.stdout)  # one rank prints
    assert (done.code, report["engine"], report["wrong"]) == (0, "mpi", 0), done.stderr
    assert [row["elements"] for row in report["rows"]][:3] == [0, 1, 1009]
    wrong = finish(mpi.popen(2, *main))
    assert wrong.code == 2
    assert "the plan has 4 ranks, this job 2; use `mpirun -n 4 python …`" in wrong.stderr
