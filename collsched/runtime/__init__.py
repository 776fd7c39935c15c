"""Execution of plans: `connect(plan)` gives a Communicator.

An engine is a module of this package with

    connect(plan, tuning=None, wirings=None)   this rank's Communicator; returns once all ranks have connected
    launched()                                 whether this process was started as a rank of this engine
    Tuning                                     its sizes, and a `timeout` in seconds

and a class that implements `engine.Engine`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from collsched.errors import InputError
from collsched.runtime.communicator import Communicator

if TYPE_CHECKING:
    from collsched.runtime.engine import Executable

__all__ = ["ENGINES", "Communicator", "connect", "require_engine", "tuning"]

ENGINES = ("shm", "mpi", "nccl", "cuda")


def require_engine(engine: str) -> str:
    """The engine that a name stands for; auto is the one that this process was launched for, else shm.

    Raises InputError for an unknown name.
    """
    if engine == "auto":
        return next((name for name in ENGINES if _module(name).launched()), "shm")
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r}; choose auto, {', '.join(ENGINES)}")
    return engine


def connect(plan: Executable, engine: str = "auto", tuning: Any = None) -> Communicator:
    """This rank's end of a plan; returns once all ranks have connected. `tuning`: of the engine's own class.

    Raises MissingComponentError for a plan that needs switches which copy or sum data, as no engine does; and what the
    engine's `connect` raises.
    """
    from collsched.lower.programs import check_ranks_alone

    found = _module(require_engine(engine))
    check_ranks_alone(plan.topology, plan.schedule().routes)
    communicator: Communicator = found.connect(plan, tuning)
    return communicator


def tuning(engine: str) -> Any:
    """The class of an engine's `tuning`; each of them has a `timeout` in seconds."""
    return _module(require_engine(engine)).Tuning


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
