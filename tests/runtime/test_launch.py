"""`collsched launch` and `collsched run` as commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import collsched
from collsched.runtime.launch import Ranks, raising_signals

JOB = """
import os, sys, numpy as np, collsched
comm = collsched.connect(collsched.Plan.load(sys.argv[1]))
x = np.full(5, comm.rank, np.float32)
comm.allreduce(x)
os.write(1, f"{comm.rank} {x.tolist()}\\n".encode())  # whole lines, whatever the buffering
if len(sys.argv) > 2:
    exec(sys.argv[2])
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "ring.cs"
    ring = "".join(f"  - {{a: r{i}, b: r{(i + 1) % 4}, bandwidth: 10}}\n" for i in range(4))
    nodes = "".join(f"  - {{name: r{i}, kind: rank}}\n" for i in range(4))
    (path.parent / "ring.yaml").write_text(f"collsched: topology/1\nname: ring\nnodes:\n{nodes}links:\n{ring}")
    collsched.compile(collsched.load_topology(path.parent / "ring.yaml"), "allreduce").save(path)
    return path


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "collsched.cli.main", *map(str, words)]


def execute(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=120)


def start(*words: str | Path) -> subprocess.Popen[str]:
    # A shell starts background jobs with SIGINT ignored, and children inherit that: here it must be heard.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a process that has been told to end writes to stderr; it does not outlive the test."""
    try:
        return process.communicate(timeout=90)[1]
    finally:
        process.kill()
        process.communicate()


def alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def descendants(process: int) -> list[int]:
    found = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [*found, *(inner for child in found for inner in descendants(child))]


def await_children(process: subprocess.Popen[str], number: int) -> list[int]:
    deadline = time.monotonic() + 60
    while len(found := descendants(process.pid)) < number and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(found) >= number
    return found


def assert_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [process for process in processes if alive(process)]


def test_launch_connects_the_ranks_of_a_program(plan: Path) -> None:
    done = execute("launch", "-n", "4", "--", sys.executable, "-c", JOB, plan)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{rank} {[6.0] * 5}" for rank in range(4)]


def test_launch_passes_on_the_first_failure_and_the_others_learn_of_it(plan: Path) -> None:
    # One write a rank: lines of tracebacks come in pieces, and those of several ranks mix.
    then = """
if comm.rank == 2:
    sys.exit(7)
try:
    comm.allreduce(x)
except collsched.EngineError as error:
    os.write(2, f"EngineError: {error}\\n".encode())
    sys.exit(1)
"""
    done = execute("launch", "-n", "4", "--", sys.executable, "-c", JOB, plan, then)
    assert done.returncode == 7
    assert "collsched launch: rank 2 (process " in done.stderr
    told = done.stderr.count("EngineError: rank 2 (process ")
    assert told >= 1
    assert told + done.stderr.count("was killed by SIGTERM") >= 3  # a busy machine may not get to tell all in time


def test_launch_names_what_is_wrong(plan: Path) -> None:
    missing = execute("launch", "-n", "2", "--", "no-such-program")
    assert (missing.returncode, missing.stderr) == (2, "error: 'no-such-program': no such program, or not executable\n")
    none = execute("launch", "-n", "0", "--", "true")
    assert (none.returncode, none.stderr) == (2, "error: 0 ranks; one machine takes 1 to 1024\n")
    fewer = execute("launch", "-n", "2", "--", sys.executable, "-c", JOB, plan)
    assert "the plan has 4 ranks, this launch 2; use `collsched launch -n 4`" in fewer.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_the_end_of_launch(plan: Path, number: signal.Signals) -> None:
    then = "if comm.rank: comm.allreduce(x)\nimport time; time.sleep(60)"
    process = start("launch", "-n", "4", "--", sys.executable, "-c", JOB, plan, then)
    ranks = await_children(process, 4)
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()  # all ranks are in the engine now
    process.send_signal(number)
    finish(process)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert_gone(ranks)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_the_end_of_run(plan: Path, number: signal.Signals) -> None:
    process = start("run", plan, "--size", "64MiB", "--iterations", "10000")
    ranks = await_children(process, 4)
    process.send_signal(number)
    errors = finish(process)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert "Traceback" not in errors
    assert_gone(ranks)


def test_run_checks_every_element(plan: Path) -> None:
    done = execute("run", plan, "--engine", "shm", "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["collective"], report["ranks"], report["engine"], report["wrong"]) == ("allreduce", 4, "shm", 0)
    assert {(row["dtype"], row["elements"]) for row in report["rows"]} >= {
        (dtype, count) for dtype in ("float32", "float16", "int64") for count in (0, 1, 1009, 6000)
    }
    assert all(row["wrong"] == 0 and row["seconds"] > 0 for row in report["rows"])
    table = execute("run", plan, "--size", "10KiB", "--dtype", "bfloat16", "--op", "avg")
    assert "5,120" in table.stdout
    assert table.stdout.endswith("every element is right\n")


def test_run_with_wrong_elements_exits_with_one(
    plan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from collsched.cli.main import main
    from collsched.plan import Plan
    from collsched.runtime.engine import Wirings

    wirings, loaded = Wirings(), Plan.load(plan)
    wirings.get(loaded, 1).schedule.transfers.op[-1] ^= 1  # behind the back of the verifier
    monkeypatch.setattr("collsched.runtime.check.Wirings", lambda: wirings)
    with pytest.raises(SystemExit) as end:
        main(["run", str(plan), "--dtype", "int32"])
    assert end.value.code == 1
    assert "elements are wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--engine", "smoke"], 2, "error: engine 'smoke'; choose auto, shm, mpi, nccl, cuda"),
        (["--dtype", "float8"], 2, "error: element type 'float8'; the engine has float16"),
        (["--op", "mean"], 2, "error: reduction 'mean'; choose sum"),
        (["--iterations", "0"], 2, "error: 0 iterations; at least 1"),
        (["--size", "64TiB"], 2, "error: 4 ranks need up to 3072 TiB to check"),
    ],
)
def test_run_names_what_is_wrong(plan: Path, words: list[str], code: int, text: str) -> None:
    done = execute("run", plan, *words)
    assert done.returncode == code
    assert text in done.stderr


def test_the_shared_memory_has_no_name(plan: Path) -> None:
    process = start("run", plan, "--size", "16MiB", "--iterations", "10000")
    ranks = await_children(process, 4)
    descriptors = [str(fd.readlink()) for fd in Path(f"/proc/{ranks[0]}/fd").iterdir()]
    process.kill()
    finish(process)
    assert {target for target in descriptors if "collsched" in target} == {"/memfd:collsched (deleted)"}
    assert_gone(ranks)


def test_a_rank_that_has_hardly_begun_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    setpgid, parent = os.setpgid, os.getpid()

    def late(process: int, group: int) -> None:
        if os.getpid() != parent:
            time.sleep(60)
        setpgid(process, group)

    monkeypatch.setattr(os, "setpgid", late)
    start = time.monotonic()
    with Ranks(2) as job:
        job.start(lambda rank, fd: 0)
        ranks = job.processes
    assert time.monotonic() - start < 30
    assert_gone(ranks)


def test_a_signal_that_does_not_interrupt_the_wait_ends_it() -> None:
    """As when it comes just before the wait begins: here, to another thread, which it wakes instead."""
    thread = threading.Timer(0.5, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    start = time.monotonic()
    with pytest.raises(SystemExit) as end, raising_signals(), Ranks(1) as job:
        job.start(lambda rank, fd: time.sleep(60) or 0)
        thread.start()
        for _ in job.watch():
            pass
    assert end.value.code == 128 + signal.SIGTERM
    assert time.monotonic() - start < 30
    thread.join()
