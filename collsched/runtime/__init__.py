"""Execution of plans: `connect(plan)` gives a Communicator inside a rank that `collsched launch` started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collsched.errors import InputError, MissingComponentError
from collsched.runtime.communicator import Communicator

if TYPE_CHECKING:
    from collsched.runtime.shm import Executable, Tuning

__all__ = ["ENGINES", "Communicator", "connect", "require_engine"]

ENGINES = ("shm", "mpi", "nccl", "cuda")
_PRESENT = ("shm",)


def require_engine(engine: str) -> str:
    """The engine that a name stands for. Raises MissingComponentError for one that this version does not have,
    InputError for an unknown name."""
    if engine == "auto":
        return "shm"
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r}; choose auto, {', '.join(ENGINES)}")
    if engine not in _PRESENT:
        raise MissingComponentError(
            f"engine {engine!r} is not part of this version; it has shm, which runs all ranks on this machine"
        )
    return engine


def connect(plan: Executable, engine: str = "auto", tuning: Tuning | None = None) -> Communicator:
    """This rank's end of a plan; returns once all ranks have connected.

    Raises MissingComponentError for an engine that this version does not have, and what `runtime.shm.connect` raises.
    """
    require_engine(engine)
    from collsched.runtime import shm

    return shm.connect(plan, tuning)
