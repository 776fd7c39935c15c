"""The backend "collsched" as torch makes it."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from collsched.errors import InputError
from collsched.runtime.launchers import of_store
from collsched.torch.agreement import agree
from collsched.torch.group import Job
from collsched.torch.options import Given, Options, read
from collsched.torch.plans import Plans
from collsched.torch.process_group import CollschedProcessGroup

_job: Job | None = None  # of the default group, whose fabric the others are part of


def create(described: Any, options: Any) -> Any:
    """What torch calls for `init_process_group("collsched")` and for `new_group`. Collective.

    Raises InputError, on all ranks, where they do not fit their topology or their plans.
    """
    global _job
    store, rank, size = described.store, described.group_rank, described.group_size
    ranks = list(described.global_ranks_in_group)
    if options is not None and not isinstance(options, Options):
        raise InputError(f"pg_options is a {type(options).__name__}; give collsched.torch.Options")
    if not ranks:
        ranks = list(range(size))
        _job = job(dist.PrefixStore("collsched", store), rank, size, options or Options())
    elif _job is None:
        raise InputError('the default group is not of "collsched": init_process_group("collsched") comes first')
    return CollschedProcessGroup(store, rank, size, described.timeout, _job, ranks)


def job(store: Any, rank: int, size: int, options: Options) -> Job:
    """The fabric and the plans of all ranks that share a store. Collective; raises InputError on all of them alike."""

    def find() -> Given:
        _ = options.directory
        return read(options.source)

    topology, given = agree(of_store(store, rank, size, "torch"), find)
    return Job(topology, Plans(given.plans, options.directory, options.objective), options)
