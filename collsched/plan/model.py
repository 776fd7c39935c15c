"""A plan: everything that was compiled, and what proves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from collsched.collective import Collective
from collsched.cost import Prediction, predict
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum
from collsched.ir.schedule import Schedule
from collsched.lower import lower
from collsched.passes.segment import Segment
from collsched.plan import container, encoding
from collsched.plan.audit import PlanReport, audit
from collsched.topology.model import Topology

MOST_TRANSFERS = 10**6  # that an export has unless asked for more


@dataclass(frozen=True)
class Plan:
    """A collective compiled for a topology.

    `forests` and `bound` hold one entry per phase, in the order of `forest.problem.directions`; a plan for a group of
    one rank may have forests without trees. `bound` is what no forest of that phase can beat. `options` are the choices
    that made the plan (JSON values), `provenance` is for people: versions, times, commands (JSON values).
    """

    topology: Topology
    collective: Collective
    forests: tuple[Forest, ...]
    bound: tuple[Optimum, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of topology, collective, forests and options as 64 hex digits; the schedule follows from these."""
        return encoding.digest(self.topology, self.collective, self.forests, self.options)

    @cached_property
    def _schedule(self) -> Schedule:
        return lower(self.topology, self.collective, self.forests)

    def schedule(self, segments: int = 1) -> Schedule:
        """The transfers, lowered on first use; every chunk cut into `segments` pieces that are pipelined."""
        return Segment(segments)(self._schedule)

    @cached_property
    def report(self) -> PlanReport:
        """What verification found, on first use. Raises VerificationError."""
        return self.verify()

    def verify(self, *, topology: Topology | None = None) -> PlanReport:
        """Recompute every claim: forests, bound, schedule (and that the plan is for `topology`, if given).

        Raises VerificationError, which names the first rule that is broken and a witness.
        """
        parts = (self.topology, self.collective, self.forests, self.bound, self.schedule)
        return audit(*parts, together=self.joint, expected=topology)

    def predict(self, nbytes: int) -> Prediction:
        """The predicted time of a buffer of `nbytes` bytes (see `collsched.cost`). Verifies the plan on first use."""
        report = self.report
        together = report.ratio if self.joint else None
        return predict(self.topology, self.forests, report.forests, self.weight, nbytes, together=together)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the plan to one file, whole or not at all. An existing file that is no plan stays, unless `force`."""
        header, arrays = encoding.encode(self.topology, self.collective, self.forests, self.options)
        header |= {"provenance": dict(self.provenance), "digest": self.digest}
        cuts_header, cuts = encoding.encode_bound(self.bound)
        container.write(Path(path), header | {"bound": cuts_header}, arrays | cuts, force=force)

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Read a plan file. Raises PlanError if it is damaged, edited, malformed or of another version.

        What a file claims is not believed by loading it: see `verify`.
        """
        path = Path(path)
        header, arrays = container.read(path)
        plan = Plan(*encoding.decode(path, header, arrays))
        encoding.check_digest(path, header["digest"], plan.digest)
        return plan

    @property
    def size(self) -> int:
        """Bytes of the buffer that the plan was made for (option `size`; 256 MiB without it)."""
        size = self.options.get("size")
        return size if isinstance(size, int) and size >= 0 else 1 << 28

    @property
    def segments(self) -> int:
        """Pipeline pieces of a chunk: option `segments`; without it what is predicted to be fastest at `size`, within a
        million transfers."""
        pieces = self.options.get("segments")
        if isinstance(pieces, int):
            return pieces
        return max(
            1, min(max(self.predict(self.size).segments), MOST_TRANSFERS // (1 + self.report.schedule.transfers))
        )

    @property
    def joint(self) -> bool:
        """Whether the phases of an allreduce run at once on shares of the links (option `allreduce`)."""
        return self.options.get("allreduce") == "joint"

    @property
    def weight(self) -> int:
        """W: the shard sizes of one buffer (see `Collective.weight`)."""
        return self.collective.weight
