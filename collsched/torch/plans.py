"""Plans by topology, collective and root: those that the user gave, those in memory or in a directory, else compiled.

Rank 0 of a group finds a plan, the others get its bytes from rank 0, so all have the same one, whatever lies on their
disks.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from collsched.collective import Kind
from collsched.compiler import Objective, compile
from collsched.errors import EngineError, PlanError, VerificationError
from collsched.plan import Plan
from collsched.runtime.launchers import Peers
from collsched.topology.model import Topology
from collsched.torch.agreement import part
from collsched.torch.fabric import digest

AUTO_RANKS = 64  # up to which plans are chosen by simulation for every size
_log = logging.getLogger("collsched.torch")

Key = tuple[str, Kind, int | None, str]
_found: dict[Key, Plan] = {}  # by this process so far


@dataclass(frozen=True)
class Plans:
    """Where the plans of a job come from. `given` are of the job's topology."""

    given: tuple[Plan, ...] = ()
    directory: Path | None = None
    objective: Objective | None = None
    _digests: dict[int, tuple[Topology, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def find(self, topology: Topology, kind: Kind, root: int | None) -> Plan:
        """The plan of this topology; compiled, and kept, where there is none. Raises what `compile` raises."""
        for plan in self.given:
            if plan.collective.kind is kind and plan.collective.root == root and plan.topology == topology:
                return plan
        objective = self.objective or ("auto" if len(topology.ranks) <= AUTO_RANKS else "throughput")
        key = self._digest(topology), kind, root, objective
        if key not in _found:
            _found[key] = self._from_directory(topology, key) or self._compiled(topology, key, objective)
        return _found[key]

    def _digest(self, topology: Topology) -> str:
        known = self._digests.setdefault(id(topology), (topology, digest(topology)))
        return known[1]

    def _compiled(self, topology: Topology, key: Key, objective: Objective) -> Plan:
        # Engines move and add data on the ranks alone.
        plan = compile(topology, key[1], root=key[2], objective=objective, in_network="off")
        if self.directory is not None:
            try:
                plan.save(self._path(self.directory, key))
            except PlanError as error:
                _log.warning("the plan is not kept: %s", error)
        return plan

    def _from_directory(self, topology: Topology, key: Key) -> Plan | None:
        if self.directory is None or not (path := self._path(self.directory, key)).exists():
            return None
        try:
            plan = Plan.load(path)
            plan.verify(topology=topology.without_in_network())
        except (PlanError, VerificationError) as error:
            _log.warning("%s is not used, and compiled again: %s", path, error)
            return None
        return plan if (plan.collective.kind, plan.collective.root) == key[1:3] else None

    def _path(self, directory: Path, key: Key) -> Path:
        words = [key[0][:32], str(key[1]), *([] if key[2] is None else [f"root{key[2]}"]), key[3]]
        return directory / (re.sub(r"[^\w-]+", "-", "-".join(words)) + ".cs")


def share(peers: Peers, find: Callable[[], Plan]) -> Plan:
    """The plan that rank 0 finds, on all ranks. Collective. Raises what rank 0 met, as an EngineError on the others."""
    error: Exception | None = None
    plan: Plan | None = None
    message = b""
    if peers.rank == 0:
        try:
            plan = find()
            message = b"+" + to_bytes(plan)
        except Exception as failed:  # whatever it is, the others wait for a word
            error, message = failed, b"-" + str(failed).encode()
    told = peers.exchange(message)[0]
    if told[:1] == b"+":
        return from_bytes(told[1:]) if plan is None else plan
    part(peers)
    raise error or EngineError(f"rank 0 has no plan for this call: {told[1:].decode()}")


def to_bytes(plan: Plan) -> bytes:
    """A plan file's content."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "plan.cs"
        plan.save(path)
        return path.read_bytes()


def from_bytes(data: bytes) -> Plan:
    """The inverse. Raises PlanError."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "plan.cs"
        path.write_bytes(data)
        return Plan.load(path)
