"""Without cupy, a GPU or libnccl the engines of GPUs say what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from handmade import handmade

import collsched
from collsched.errors import InputError, MissingComponentError
from collsched.runtime import connect, gpu


def gpu_is_here() -> bool:
    try:
        gpu.require("cuda")
    except MissingComponentError:
        return False
    return True


def test_no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(gpu, "import_module", missing)
    with pytest.raises(
        MissingComponentError, match=r"the cuda engine needs cupy \(No module named 'cupy'\): pip install"
    ):
        connect(handmade(2, "allreduce"), engine="cuda")


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(__version__="14", cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setattr(gpu, "import_module", lambda name: module)
    with pytest.raises(MissingComponentError, match="cupy 14 finds none"):
        gpu.require("nccl")


def test_no_libnccl(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(runtimeGetVersion=lambda: 13020)
    cupy = SimpleNamespace(__version__="14", cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(gpu, "import_module", lambda name: SimpleNamespace(available=False))
    with pytest.raises(MissingComponentError, match="pip install nvidia-nccl-cu13"):
        gpu.require_nccl(cupy)


@pytest.mark.skipif(gpu_is_here(), reason="there is a GPU")
@pytest.mark.parametrize("engine", ["cuda", "nccl"])
def test_run_ends_with_3(engine: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.cs"
    collsched.compile(collsched.bundled("torus-2d", dims="2x2"), "allreduce").save(plan)
    command = [sys.executable, "-m", "collsched.cli.main", "run", str(plan), "--engine", engine]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith(f"error: the {engine} engine needs ") and done.stderr.count("\n") == 1


def test_a_command_is_told_as_it_was_given() -> None:
    from collsched.cli._start import arguments
    from collsched.cli.run import run_command

    words = [
        "plan.cs",
        "--engine",
        "cuda",
        "--size",
        "1KiB",
        "--size",
        "2KiB",
        "--iterations",
        "5",
        "--timeout",
        "3",
        "--json",
    ]
    context = run_command.make_context("run", words[:])
    again = run_command.make_context("run", arguments(context))
    assert again.params == context.params and again.params["sizes"] == ("1KiB", "2KiB")


@pytest.mark.parametrize(("current", "local", "wanted", "number"), [(0, 5, None, 1), (3, 5, None, 3), (3, 5, 2, 2)])
def test_the_gpu_of_a_rank(current: int, local: int, wanted: int | None, number: int) -> None:
    used = []
    runtime = SimpleNamespace(getDeviceCount=lambda: 4, getDevice=lambda: current)
    chosen = lambda n: SimpleNamespace(use=lambda: used.append(n))  # noqa: E731
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, Device=chosen))
    assert gpu.device(cupy, local, wanted) == number and used == [number]
    with pytest.raises(InputError, match="device=4; this process sees GPUs 0 to 3"):
        gpu.device(cupy, local, 4)


CUPY = {
    "cuda": "is_available Device Stream Event get_current_stream alloc_pinned_memory compiler.CompileException",
    "cuda.runtime": "CUDARuntimeError pointerGetAttributes deviceGetPCIBusId getDevice getDeviceCount malloc "
    "memsetAsync memcpyAsync memcpyDeviceToHost ipcGetMemHandle ipcOpenMemHandle ipcCloseMemHandle "
    "_deviceEnsurePeerAccess runtimeGetVersion streamCaptureModeThreadLocal",
    "cuda.driver": "occupancyMaxActiveBlocksPerMultiprocessor",
    "cuda.Device": "attributes compute_capability use",
    "cuda.Stream": "ptr wait_event synchronize is_capturing begin_capture end_capture",
    "cuda.Event": "record done synchronize",
    "cuda.graph.Graph": "launch upload",
    "RawModule": "get_function",
    "RawKernel": "kernel",
}


@pytest.mark.parametrize("place", CUPY)
def test_names_of_cupy(place: str) -> None:
    """Those that the engines use exist. It can be imported without a driver."""
    found = pytest.importorskip("cupy")
    for part in place.split("."):
        found = getattr(found, part)
    for name in CUPY[place].split():
        target = found
        for part in name.split("."):
            assert hasattr(target, part) or part == "ptr", f"{place}.{name}"
            target = getattr(target, part, None)


NCCL = """
from cupy.cuda import nccl
if nccl.available:
    assert isinstance(nccl.get_unique_id(), bytes)
    nccl.get_version, nccl.groupStart, nccl.groupEnd, nccl.NcclError, nccl.NCCL_INT8
    of = nccl.NcclCommunicator
    of.send, of.recv, of.abort, of.destroy, of.check_async_error
    print("found")
"""


def test_names_of_nccl() -> None:
    """In a process of its own, since the library keeps descriptors open."""
    pytest.importorskip("cupy")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", NCCL], capture_output=True, text=True)
    if not done.stdout and not done.returncode:
        pytest.skip("no libnccl")
    assert done.stdout == "found\n", done.stderr
