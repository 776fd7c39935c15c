"""What a figure depends on: versions, machine, environment. No user name, no address, no value that may be secret."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import collsched
from collsched.topology.model import Topology

PREFIXES = (
    "NCCL_", "OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_", "MPIR_", "MPICH_", "I_MPI_", "UCX_", "FI_", "GLOO_", "COLLSCHED_",
    "OMP_", "CUDA_",
)  # fmt: skip
_OWN = {"COLLSCHED_RANK", "COLLSCHED_RANKS", "COLLSCHED_SHM_FD"}  # of this run alone
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL|URI|COOKIE", re.IGNORECASE)


def provenance(device: str, baselines: Mapping[str, str], ranks: int) -> dict[str, Any]:
    """`baselines`: name → version of the library. Of the process that calls, which is a rank."""
    return {
        "versions": _versions(device) | {f"baseline {name}": text for name, text in sorted(baselines.items())},
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "gpus": _gpus() if device == "cuda" else [],
        "load_1min": round(os.getloadavg()[0], 2),
        "ranks_per_core": ranks / len(os.sched_getaffinity(0)),
        "environment": environment(os.environ),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def topology_digest(topology: Topology) -> str:
    """SHA-256, as 64 hex digits, of the nodes and links alone."""
    nodes = [[n.name, n.kind, n.host, n.rail, n.plane, n.multicast, n.reduce] for n in topology.nodes]
    links = [[link.src, link.dst, str(link.bandwidth), str(link.alpha)] for link in topology.links]
    return hashlib.sha256(json.dumps([topology.name, nodes, links], separators=(",", ":")).encode()).hexdigest()


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that steer the libraries."""
    return {
        name: "(hidden)" if _SECRET.search(name) else value
        for name, value in sorted(variables.items())
        if name.startswith(PREFIXES) and name not in _OWN
    }


def _versions(device: str) -> dict[str, str]:
    found = {"collsched": collsched.__version__, "python": platform.python_version()}
    for package in ("numpy", "mpi4py", "torch"):
        # Of what the run uses: torch may be installed and have no part in it.
        if package in sys.modules:
            found[package] = _version(package)
    if "mpi4py.MPI" in sys.modules:
        text = import_module("mpi4py.MPI").Get_library_version().strip("\0\n ")
        found["MPI library"] = re.sub(r"\s+", " ", text.splitlines()[0].split(", package")[0])
    if device == "cuda":
        found |= _cuda_versions()
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(sys.modules[package], "__version__", "unknown"))


def _cuda_versions() -> dict[str, str]:
    cupy = import_module("cupy")
    runtime = cupy.cuda.runtime
    found = {"cupy": cupy.__version__, "CUDA runtime": _dotted(runtime.runtimeGetVersion())}
    found["CUDA of the driver"] = _dotted(runtime.driverGetVersion())
    driver = Path("/proc/driver/nvidia/version")
    if driver.exists() and (match := re.search(r"Kernel Module\D*(\d[\d.]*)", driver.read_text())):
        found["NVIDIA driver"] = match[1]
    return found


def _dotted(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpus() -> Sequence[str]:
    runtime = import_module("cupy").cuda.runtime
    return [runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())]


def _cpu() -> dict[str, Any]:
    """Model, cores that this process may use, MHz as the kernel says it now, and the governor."""
    fields: dict[str, str] = {}
    clocks = []
    for line in _lines("/proc/cpuinfo"):
        name, _, value = (part.strip() for part in line.partition(":"))
        fields.setdefault(name, value)
        if name == "cpu MHz":
            clocks.append(float(value))
    governor = _lines("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "model": fields.get("model name") or fields.get("Model") or platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "MHz": [min(clocks), max(clocks)] if clocks else None,
        "governor": governor[0] if governor else None,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
