"""`check` in ranks that something else launched: each rank runs the cases, and all learn what all of them found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from collsched.errors import InputError
from collsched.runtime.check import Case, Row, measure, prepare
from collsched.runtime.communicator import Communicator
from collsched.runtime.engine import Executable
from collsched.runtime.layout import Role


def run_launched(
    communicator: Communicator, plan: Executable, cases: Sequence[Case], *, iterations: int = 3
) -> Iterator[Row]:
    """Run every case in this rank, and yield its row once all ranks have told of it. Collective.

    Raises EngineError if a rank fails or ends.
    """
    if iterations < 1:
        raise InputError(f"{iterations} iterations; at least 1")
    role = Role(plan.collective, plan.schedule().chunks, communicator.rank)
    for data in prepare(plan.collective, cases):
        mine = json.dumps(measure(communicator, role, data, iterations)).encode()
        told = [json.loads(part) for part in communicator.share(mine)]
        yield Row(data.case, sum(wrong for wrong, _ in told), max(seconds for _, seconds in told))
