"""The processes of the job that this one belongs to, whoever launched it."""

from __future__ import annotations

from collsched.runtime import shm
from collsched.runtime.launchers import Peers, foreign


def find() -> Peers | None:
    """The ranks of the launch that this process belongs to; None if it was started by itself. The first call is
    collective.

    Raises MissingComponentError where the launcher's library (mpi4py, torch) is not installed.
    """
    return shm.siblings() or foreign()
