"""The ranks of one process group and their communicators: one a collective and root, connected at its first call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from collsched.collective import Kind
from collsched.errors import EngineError, MissingComponentError
from collsched.runtime import Communicator
from collsched.runtime.launchers import Peers
from collsched.topology import one_machine
from collsched.topology.model import Topology
from collsched.torch.engines import Meeting, meet
from collsched.torch.fabric import restricted
from collsched.torch.lane import Lane
from collsched.torch.options import Options
from collsched.torch.plans import Plans, share
from collsched.torch.streams import SideStream

MOST_CONNECTED = 256  # communicators of a group; a memory has room for 1,024 with all their sizes
_log = logging.getLogger("collsched.torch")


@dataclass(frozen=True, slots=True)
class Job:
    """What all process groups of a job share."""

    topology: Topology
    plans: Plans
    options: Options

    @property
    def everyone(self) -> list[int]:
        return list(range(len(self.topology.ranks)))


class Group:
    """One rank's end of a process group, for tensors of one kind of device. All of its ranks make the same calls in the
    same order; calls run on its lane."""

    def __init__(self, job: Job, peers: Peers, ranks: list[int], device: str) -> None:
        """`ranks`: the group's members by their numbers in the job. Collective.

        Raises MissingComponentError where no engine serves them.
        """
        self.peers, self.device = peers, device
        self._plans = job.plans
        world = ranks == job.everyone
        self._meeting = meet(peers, device, job.options.engine, job.options.tuning, world=world)
        self.topology = _topology(job.topology, ranks, self._meeting)
        self._connected: dict[tuple[Kind, int | None], Communicator] = {}
        self._promised: set[tuple[Kind, int | None]] = set()
        self.lane = Lane(f"collsched {device}", self._meeting.abort)
        self._stream = SideStream() if device == "cuda" else None
        # What does not fit the engine is to be found before the first step.
        for plan in job.plans.given:
            if plan.topology == self.topology:
                self.serves(plan.collective.kind, plan.collective.root)
                self.communicator(plan.collective.kind, plan.collective.root)

    @property
    def engine(self) -> str:
        return self._meeting.engine

    def run(
        self,
        name: str,
        call: Callable[[], None],
        outputs: Sequence[Tensor],
        *,
        inputs: Sequence[Tensor] = (),
        wait: bool = False,
        finish: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Execute `call`, which makes this group's collectives, after those before it: on the lane, or on a stream.

        A Work whose future holds `outputs`, or what `finish` makes of the future. `wait`: the caller waits anyway.
        """
        if self._stream is not None:
            return self._stream.run(call, outputs, inputs, finish)
        return self.lane.run(name, call, outputs, wait=wait, finish=finish)

    def serves(self, kind: Kind, root: int | None = None) -> bool:
        """Whether `call` may be made: not for one more root than a shared memory has room for. Asked in the order of
        the calls, on all ranks alike."""
        if len(self._promised) < MOST_CONNECTED:
            self._promised.add((kind, root))
        return (kind, root) in self._promised

    def communicator(self, kind: Kind, root: int | None = None) -> Communicator:
        """The communicator of a collective; finds a plan and connects on first use. Collective, on the lane only."""
        key = kind, root
        if key not in self._connected:
            plan = share(self.peers, lambda: self._plans.find(self.topology, kind, root))
            self._connected[key] = communicator = self._meeting.connect(plan)
            if communicator.rank != self.peers.rank:
                raise EngineError(
                    f"rank {self.peers.rank} of the process group is rank {communicator.rank} of engine {self.engine}; "
                    "number them alike"
                )
            _log.info("%s over %d ranks: plan %s, engine %s", kind, self.peers.ranks, plan.digest[:12], self.engine)
        return self._connected[key]

    def call(self, kind: Kind, x: Tensor | None, out: Tensor | None, op: str = "sum", root: int | None = None) -> None:
        """A collective on flat tensors of an engine's type (see `tensors.elements`). On the lane only."""
        communicator = self.communicator(kind, root)
        sizes = [part.numel() for part in (x, out) if part is not None]
        # Equal shards always: the whole buffer is what the larger of the two holds.
        count = max(sizes) if kind in (Kind.ALLGATHER, Kind.REDUCE_SCATTER) else None
        if kind in (Kind.GATHER, Kind.SCATTER):
            count = min(sizes) * self.peers.ranks
        communicator.call(x, out, op=op, count=count)

    def empty(self, numel: int, dtype: Any) -> Tensor | None:
        """A flat tensor in memory that the engine moves without copying it first; None before anything is connected, or
        where there is no such memory."""
        communicator = next(iter(self._connected.values()), None)
        if communicator is None or communicator.engine != "shm" or not dtype.is_floating_point:
            return None
        memory = communicator.empty(numel * dtype.itemsize, "uint8")
        return torch.from_numpy(np.asarray(memory)).view(dtype)

    def close(self) -> None:
        """Finish the calls under way; further ones of other ranks fail."""
        self.lane.close()
        for communicator in self._connected.values():
            communicator.close()
        self._connected.clear()


def _topology(topology: Topology, ranks: list[int], meeting: Meeting) -> Topology:
    part = restricted(topology, ranks)
    if part is not None:
        return part
    if meeting.engine != "shm":
        raise MissingComponentError(
            f"ranks {', '.join(map(str, ranks))} of {topology.name!r} are not connected without the other ranks, which "
            "take no part in their calls"
        )
    # The bytes go through the memory of one machine, whatever links there are.
    _log.info("ranks %s are not connected without others: plans for the memory of one machine", ranks)
    return one_machine(len(ranks))
