"""`collsched bench` as a command: what it prints, judges, writes and refuses; and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mpirun import Mpi, mpi  # noqa: F401 (a fixture)
from samples_given import messages

import collsched
from collsched.bench.ranks import Job, forked
from collsched.bench.results import Measurement
from collsched.bench.samples import from_csv
from collsched.bench.sweep import Sweep
from collsched.cli.bench import _report
from collsched.cli.main import main
from collsched.collective import Kind
from collsched.errors import InputError

SMALL = ("-b", "512", "-e", "8K", "-f", "16", "-n", "4", "-w", "1")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


def bench(
    *words: str | Path, before: Sequence[str] = (), folder: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "collsched.cli.main", "bench", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=folder, env=env, check=False)


def check_rows(result: dict[str, Any], wanted: Sequence[str]) -> None:
    """The keys and the arithmetic that readers of the JSON rely on."""
    rows = result["rows"]
    assert {row["engine"] for row in rows} == set(wanted)
    factor = {"allreduce": 2.0, "allgather": 1.0}[result["collective"]] * (1 - 1 / result["ranks"])
    plan_seconds: dict[tuple[int, bool], float] = {}
    for row in rows:
        assert row["wrong"] == 0
        seconds = row["seconds"]
        assert set(seconds) == {"p50", "p95", "min", "max"}
        assert 0 < seconds["min"] <= seconds["p50"] <= seconds["p95"] <= seconds["max"]
        assert row["algbw_GBps"] == pytest.approx(row["bytes"] / seconds["p50"] / 1e9)
        assert row["busbw_GBps"] == pytest.approx(row["algbw_GBps"] * factor)
        assert row["dtype"] == "float32"
        assert isinstance(row["op"], str)
        key = row["bytes"], row["in_place"]
        if row["side"] == "plan":
            plan_seconds[key] = seconds["p50"]
            assert row["predicted_seconds"] >= row["bound_seconds"] > 0
        else:
            assert row["ratio"] == pytest.approx(seconds["p50"] / plan_seconds[key])
    assert len(plan_seconds) == 4


@needs_torch
def test_forked_ranks_beside_gloo_with_all_files(plans: Path, tmp_path: Path) -> None:
    files = ("--html", tmp_path / "h.html", "--csv", tmp_path / "s.csv", "--trace", tmp_path / "t.json")
    done = bench(plans / "allreduce.cs", *SMALL, "--baseline", "gloo", "--json", *files)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    check_rows(result, ("shm", "gloo"))
    assert {row["in_place"] for row in result["rows"] if row["engine"] == "gloo"} == {True}
    assert result["not_measured"] == [{"baseline": "gloo", "in_place": False, "reason": "it works in place only"}]
    samples = from_csv((tmp_path / "s.csv").read_text())
    assert sorted(one.p50 for one in samples) == pytest.approx(sorted(r["seconds"]["p50"] for r in result["rows"]))
    assert all(one.samples.shape == (4, 3) for one in samples)
    assert "plan (shm)" in (tmp_path / "h.html").read_text()
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert result["trace"]["text"].startswith("µs from\\to")
    assert result["provenance"]["versions"]["torch"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["h.html", "s.csv", "t.json"]


@needs_torch
@pytest.mark.parametrize(
    "kind", ["allgather", "reduce-scatter", "broadcast", "reduce", "gather", "scatter", "all-to-all"]
)
def test_gloo_does_every_collective_rightly(plans: Path, kind: str) -> None:
    measured = measure(plans / f"{kind}.cs", ("gloo",), iterations=1)
    assert {one.engine for one in measured} == {"shm", "gloo"}
    assert all(one.wrong == 0 for one in measured)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_plan_alone_in_both_placements(plans: Path, kind: Kind) -> None:
    measured = measure(plans / f"{kind}.cs", (), iterations=2, op="max" if kind.reduces else "sum", dtype="float16")
    assert [(one.case.in_place, one.wrong) for one in measured] == [(False, 0), (True, 0)]


def test_registered_buffers(plans: Path) -> None:
    measured = measure(plans / "allreduce.cs", (), iterations=2, registered=True, dtype="bfloat16")
    assert [one.wrong for one in measured] == [0, 0]


@needs_torch
def test_ranks_outside_the_group_take_part_without_data(plans: Path, tmp_path: Path) -> None:
    topology = collsched.load_topology(plans / "three.yaml")
    collsched.compile(topology, "allreduce", group="0,2").save(tmp_path / "group.cs")
    measured = measure(tmp_path / "group.cs", ("gloo",), iterations=2)
    assert [(one.engine, one.case.in_place, one.wrong) for one in measured] == [
        ("shm", False, 0), ("shm", True, 0), ("gloo", True, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["allgather", "gather", "scatter", "reduce-scatter"])
def test_parts_of_unequal_sizes(plans: Path, tmp_path: Path, kind: str) -> None:
    topology = collsched.load_topology(plans / "three.yaml")
    collsched.compile(topology, kind, shards={"r0": 2, "r1": 5, "r2": 0}).save(tmp_path / "unequal.cs")
    measured = measure(tmp_path / "unequal.cs", (), iterations=2)
    assert [one.wrong for one in measured] == [0, 0]


def measure(path: Path, baselines: tuple[str, ...], **options: Any) -> list[Measurement]:
    plan = collsched.Plan.load(path)
    if "gloo" in baselines:
        import torch.distributed  # noqa: F401  once, and not in every rank
    job = Job(plan, "shm", baselines, Sweep((6000,), warmup=1, **options), timeout=60)
    with closing(forked(job)) as found:
        return [Measurement.from_json(row) for one in found if "measured" in one for row in one["measured"]]


@pytest.mark.parametrize(("kind", "engine"), [("allreduce", "shm"), ("allgather", "mpi")])
def test_ranks_of_mpirun_beside_mpi(plans: Path, mpi: Mpi, kind: str, engine: str) -> None:  # noqa: F811
    words = (plans / f"{kind}.cs", *SMALL, "--engine", engine, "--baseline", "mpi", "--json")
    done = bench(*words, before=mpi.launcher(3), env=mpi.environment)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    check_rows(result, (engine, "mpi"))
    assert {row["side"] for row in result["rows"]} == {"plan", "baseline"}
    assert result["provenance"]["versions"]["MPI library"]


@needs_torch
def test_ranks_of_torchrun(plans: Path) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
    done = bench(plans / "pair.cs", "-b", "4K", "-e", "4K", "-n", "2", "--json", before=launcher)
    assert done.returncode == 0, done.stderr
    assert {row["engine"] for row in json.loads(done.stdout)["rows"]} == {"shm", "gloo"}


def judge(plans: Path, plan_wins: bool, wrong: int = 0, **options: Any) -> int:
    plan = collsched.Plan.load(plans / "pair.cs")
    job = Job(plan, "shm", ("auto",), Sweep((1024, 16384), iterations=5))
    given = {"as_json": False, "html": None, "samples": None, "require_win": False} | options
    return _report("plan.cs", job, messages(plan_wins, wrong), given)


def test_what_is_printed(plans: Path, capsys: pytest.CaptureFixture[str], golden: Any) -> None:
    assert judge(plans, False) == 0
    said = capsys.readouterr()
    golden.check(re.sub(r"# plan [0-9a-f]{16}", "# plan DIGEST", said.out), "bench/loses")
    assert judge(plans, True) == 0
    golden.check(re.sub(r"# plan [0-9a-f]{16}", "# plan DIGEST", capsys.readouterr().out), "bench/wins")
    assert said.err == "baseline nccl left out: no GPU\n"


def test_require_win(plans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(plans, True, require_win=True) == 0
    assert judge(plans, False, require_win=True) == 1
    assert "a baseline is faster" in capsys.readouterr().err


def test_wrong_elements_are_a_failure_whoever_has_them(plans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(plans, True, wrong=7) == 1
    assert "7 ELEMENTS WRONG" in capsys.readouterr().out


def test_what_is_refused(plans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                         capsys: pytest.CaptureFixture[str], golden: Any) -> None:  # fmt: skip
    monkeypatch.chdir(plans)
    told = []
    for words in (
        ["allreduce.cs", "--baseline", "ucc"],
        ["allreduce.cs", "--baseline", "none", "--baseline", "gloo"],
        ["allreduce.cs", "-b", "1X"],
        ["allreduce.cs", "-b", "0"],
        ["allreduce.cs", "-b", "2K", "-e", "1K"],
        ["allreduce.cs", "-f", "1"],
        ["allreduce.cs", "-n", "0"],
        ["allreduce.cs", "-w", "-1"],
        ["allreduce.cs", "-c", "2"],
        ["allreduce.cs", "--dtype", "float12"],
        ["allreduce.cs", "--op", "xor"],
        ["allgather.cs", "--op", "max"],
        ["allreduce.cs", "--html", "nowhere/h.html"],
        ["allreduce.cs", "--engine", "smoke"],
        ["absent.cs"],
        ["allreduce.cs", "--baseline", "mpi", "-e", "1K", "-n", "1"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["bench", *words])
        said = capsys.readouterr()
        assert said.out == ""
        told.append(f"$ bench {' '.join(words)}\n{said.err.strip()}\nexit {stopped.value.code}\n")
    golden.check("\n".join(told), "bench/errors")


def test_sizes_that_memory_has_no_room_for(plans: Path) -> None:
    job = Job(collsched.Plan.load(plans / "pair.cs"), "shm", (), Sweep((1 << 45,), iterations=1))
    with pytest.raises(InputError, match=r"2 ranks need up to 256 TiB .* choose a smaller size"):
        next(forked(job))


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def long_run(plans: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A benchmark that would take minutes, once its ranks are at work."""
    command = [sys.executable, "-m", "collsched.cli.main", "bench", str(plans / "allreduce.cs"), "--baseline", "none",
               "-e", "1K", "-n", "10000000", "--both"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("# collsched")
    ranks = children(process.pid)
    assert len(ranks) == 3
    return process, ranks


def gone(ranks: Sequence[int]) -> bool:
    until = time.monotonic() + 10
    while any(Path(f"/proc/{rank}").exists() for rank in ranks) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(Path(f"/proc/{rank}").exists() for rank in ranks)


def test_a_rank_that_dies_ends_the_run_with_its_name(plans: Path) -> None:
    process, ranks = long_run(plans)
    os.kill(ranks[1], signal.SIGKILL)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "rank 1" in error
    assert "Traceback" not in error
    assert gone(ranks)


def test_an_interrupt_ends_all_ranks(plans: Path) -> None:
    process, ranks = long_run(plans)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.strip() == "interrupted"
    assert gone(ranks)


def test_a_failure_to_write_the_trace_is_an_error_of_the_run(plans: Path, tmp_path: Path) -> None:
    plan = collsched.Plan.load(plans / "pair.cs")
    job = Job(plan, "shm", (), Sweep((512,), iterations=1), trace=tmp_path / "absent" / "t.json")
    with closing(forked(job)) as found, pytest.raises(InputError, match="absent"):
        list(found)
