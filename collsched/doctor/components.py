"""What is installed, in the versions that matter. Looking them up needs no GPU and starts no MPI."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from collsched import __version__

_PATIENCE = 20  # seconds that a program may take to tell its version


@dataclass(frozen=True, slots=True)
class Component:
    """A thing that may be there: its version, None if it is not, and a remark such as how to get it."""

    name: str
    version: str | None
    remark: str = ""


def components() -> list[Component]:
    """Everything that an engine or a training job may use, present or not."""
    return [
        Component("collsched", __version__, str(Path(__file__).parents[1])),
        Component("python", platform.python_version(), sys.executable),
        Component("kernel", platform.release(), platform.machine()),
        _package("numpy"),
        _package("ortools"),
        _compiler(),
        *_torch(),
        *_cupy(),
        *_mpi(),
        _driver(),
    ]


def _package(name: str, extra: str = "") -> Component:
    try:
        return Component(name, version(name))
    except PackageNotFoundError:
        return Component(name, None, extra or f"pip install {name}")


def _loaded(name: str) -> tuple[Any, str]:
    """A module, or None and why it cannot be imported."""
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # whatever a broken installation raises
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def _torch() -> list[Component]:
    found = _package("torch", "pip install torch; for collsched.torch")
    if found.version is None:
        return [found]
    torch, error = _loaded("torch")
    if torch is None:
        return [Component("torch", found.version, f"cannot be imported: {error}")]
    backends = [name for name in ("gloo", "nccl", "mpi") if torch.distributed.is_backend_available(name)]
    parts = [Component("torch", torch.__version__, f"backends {', '.join(backends) or 'none'}")]
    cuda = torch.version.cuda
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    parts.append(Component("torch CUDA", cuda, f"{seen} GPUs seen" if cuda else "a build for the CPU"))
    if "nccl" in backends:
        parts.append(Component("torch NCCL", _told(lambda: ".".join(map(str, torch.cuda.nccl.version())))))
    return parts


def _cupy() -> list[Component]:
    cupy, error = _loaded("cupy")
    if cupy is None:
        missing = "No module named 'cupy'" in error
        return [Component("cupy", None, "pip install cupy-cuda12x; for engines nccl and cuda" if missing else error)]
    nccl, _ = _loaded("cupy.cuda.nccl")
    available = nccl is not None and nccl.available
    parts = [Component("cupy", cupy.__version__, "" if cupy.cuda.is_available() else "no GPU that CUDA can use")]
    found = _told(lambda: str(nccl.get_version())) if available else None
    return [*parts, Component("cupy NCCL", found, "" if available else "libnccl is not found")]


def mpi_launcher() -> str | None:
    """mpiexec or mpirun, in PATH or beside this Python, as the packages of MPIs install it."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    return shutil.which("mpiexec", path=places) or shutil.which("mpirun", path=places)


def _mpi() -> list[Component]:
    mpi4py = _package("mpi4py", "pip install mpi4py; for engine mpi")
    launcher = mpi_launcher()
    found = None if launcher is None else _first_line([launcher, "--version"])
    return [mpi4py, Component("MPI launcher", found, launcher or "no mpiexec in PATH or beside this Python")]


def _compiler() -> Component:
    path = shutil.which(os.environ.get("CXX", "c++"))
    found = None if path is None else _first_line([path, "--version"])
    return Component("C++ compiler", found, path or "needed only to build from source")


def _driver() -> Component:
    path = shutil.which("nvidia-smi")
    if path is None:
        return Component("NVIDIA driver", None, "no nvidia-smi in PATH")
    found = _first_line([path, "--query-gpu=driver_version,name", "--format=csv,noheader"])
    return Component("NVIDIA driver", found, path)


def _first_line(command: list[str]) -> str | None:
    """What a program says first; None if it fails or takes too long."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    words = (done.stdout or done.stderr).strip().splitlines()
    return re.sub(r"\s+", " ", words[0]) if words else None


def _told(ask: Callable[[], str]) -> str | None:
    try:
        return ask()
    except Exception:  # a library that is there and does not work
        return None
