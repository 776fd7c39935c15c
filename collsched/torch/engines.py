"""The engine of a process group: a way to connect plans among exactly its ranks.

all on one machine, CPU tensors   shm: a shared memory of these ranks
all ranks of an MPI job, CPU      mpi
CUDA tensors                      nccl, or cuda where asked for
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch

from collsched.errors import CollschedError, InputError, MissingComponentError
from collsched.plan import Plan
from collsched.runtime import ENGINES, Communicator
from collsched.runtime.launchers import Peers
from collsched.runtime.shm import default_timeout
from collsched.torch.agreement import part

CANDIDATES: dict[str, tuple[str, ...]] = {"cpu": ("shm", "mpi"), "cuda": ("nccl", "cuda")}


@dataclass(frozen=True, slots=True)
class Meeting:
    """Ranks that found an engine. `connect` is collective; `abort` tells the others that this rank cannot go on."""

    engine: str
    connect: Callable[[Plan], Communicator]
    abort: Callable[[str], None]


def meet(peers: Peers, device: str, engine: str, tuning: Any, *, world: bool) -> Meeting:
    """The engine that these ranks share for tensors of a device ("cpu", "cuda"). Collective. `world`: they are all
    ranks of the job, for engines that serve no fewer. `engine`: "auto" or the one to use.

    Raises InputError or MissingComponentError, with the reason of every candidate, where none serves them.
    """
    if engine != "auto" and engine not in ENGINES:
        raise InputError(f"engine {engine!r}; choose auto, {', '.join(ENGINES)}")
    names = CANDIDATES.get(device, ())
    if engine != "auto":
        names = (engine,) if engine in names else ()
    reasons = []
    for name in names:
        meeting: Meeting | None = None
        reason = ""
        try:
            meeting = _meet(name, peers, tuning, world)
        except CollschedError as error:
            reason = str(error)
        # One engine for all: a rank that has none tells the others.
        told = [text.decode() for text in peers.exchange(reason.encode())]
        if meeting is not None and not any(told):
            return meeting
        rank, text = next((rank, text) for rank, text in enumerate(told) if text)
        reasons.append(f"{name}: rank {rank}: {text}")
    if not names:
        reasons.append(f"no engine for {device} tensors" + (f" is called {engine!r}" if engine != "auto" else ""))
    part(peers)
    raise MissingComponentError("; ".join(reasons))


def _meet(name: str, peers: Peers, tuning: Any, world: bool) -> Meeting:
    if find_spec(f"collsched.runtime.{name}") is None:
        raise MissingComponentError(f"engine {name!r} is not part of this version")
    module = import_module(f"collsched.runtime.{name}")
    if name == "shm":
        process = module.meet(peers)
        return Meeting(
            name,
            lambda plan: module.connect(plan, tuning, process=process),
            lambda text: process.world.fail(f"rank {peers.rank} {text}"),
        )
    if name in CANDIDATES["cuda"]:
        tuning = tuning or _on_this_gpu(name, module)
    if "peers" in signature(module.connect).parameters:
        return Meeting(name, lambda plan: module.connect(plan, tuning, peers=peers), lambda _: None)
    if not world:
        raise MissingComponentError(f"engine {name!r} serves all ranks of a job, and no part of them")
    if not module.launched():
        raise MissingComponentError(f"this process was not launched as a rank of engine {name!r}")
    return Meeting(name, lambda plan: module.connect(plan, tuning), lambda _: None)


def _on_this_gpu(name: str, module: Any) -> Any:
    """An engine's settings for the GPU that torch uses. Raises MissingComponentError where there is none."""
    gpu = import_module("collsched.runtime.gpu")
    cupy = gpu.require(name)
    if name == "nccl":
        gpu.require_nccl(cupy)
    return module.Tuning(device=torch.cuda.current_device(), timeout=default_timeout())
