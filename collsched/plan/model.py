"""A plan: everything that was compiled, and what proves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from collsched.collective import Collective
from collsched.cost import GB, Prediction, predict
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum
from collsched.ir.schedule import Schedule
from collsched.ir.verify import verify as verify_schedule
from collsched.lower import lower
from collsched.passes.segment import Segment
from collsched.passes.shape import PACINGS, Pacing, Shape
from collsched.plan import container, encoding
from collsched.plan.audit import PlanReport, audit
from collsched.plan.parts import Range, Variant
from collsched.simulate import Simulation
from collsched.topology.model import Topology

MOST_TRANSFERS = 10**6  # that an export has unless asked for more


@dataclass(frozen=True)
class Plan:
    """A collective compiled for a topology.

    `forests` and `bound` hold one entry per phase, in the order of `forest.problem.directions`; a plan for a group of
    one rank may have forests without trees. `bound` is what no forest of that phase can beat. `options` are the choices
    that made the plan (JSON values), `provenance` is for people: versions, times, commands (JSON values).

    A plan may hold several `ranges` of sizes, which are run by its own forests or by those of `variants`; its own are
    those for buffers of `size` bytes. See `at`.
    """

    topology: Topology
    collective: Collective
    forests: tuple[Forest, ...]
    bound: tuple[Optimum, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    ranges: tuple[Range, ...] = ()
    _parts: dict[int, Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, nbytes: int) -> Plan:
        """The plan for buffers of `nbytes` bytes: this one, or of several ranges the one that holds them."""
        for number, part in enumerate(self.ranges):
            if part.upto is None or nbytes <= part.upto:
                if number not in self._parts:
                    self._parts[number] = self._single(part)
                return self._parts[number]
        return self

    def _single(self, part: Range) -> Plan:
        variant = self.variants[part.variant - 1] if part.variant else self._own
        options = {**variant.options, "segments": part.shape.segments, "pacing": part.shape.pacing}
        return Plan(self.topology, variant.collective, variant.forests, variant.bound, options, self.provenance)

    @property
    def _own(self) -> Variant:
        return Variant(self.collective, self.forests, self.bound, self.options)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of topology, collective, forests, options, ranges as 64 hex digits; schedules follow from these."""
        return encoding.digest(self.topology, self._own, self.variants, self.ranges)

    @cached_property
    def _schedule(self) -> Schedule:
        return lower(self.topology, self.collective, self.forests)

    def schedule(self, segments: int = 1) -> Schedule:
        """The transfers, lowered on first use; every chunk cut into `segments` pieces that are pipelined."""
        return Segment(segments)(self._schedule)

    def shaped(self, nbytes: int, segments: int | None = None) -> Schedule:
        """The transfers of a buffer of `nbytes` as they are meant to be run: in the range's shape, or with another
        number of `segments`."""
        plan = self.at(nbytes)
        shape = plan.shape if segments is None else Shape(segments, plan.pacing)
        return shape(plan.topology, plan._schedule, nbytes)

    @cached_property
    def report(self) -> PlanReport:
        """What verification found, on first use. Raises VerificationError."""
        return self.verify()

    def verify(self, *, topology: Topology | None = None) -> PlanReport:
        """Recompute every claim: forests, bound, schedule (and that the plan is for `topology`, if given).

        Raises VerificationError, which names the first rule that is broken and a witness.
        """
        parts = (self.topology, self.collective, self.forests, self.bound, self.schedule)
        report = audit(*parts, together=self.joint, expected=topology)
        verified = {self.digest}
        for part in self.ranges:
            nbytes = self.size if part.upto is None else part.upto
            if (plan := self.at(nbytes)).digest not in verified:
                verified.add(plan.digest)
                _ = plan.report
                verify_schedule(self.topology, plan.shaped(nbytes))
        return report

    def predict(self, nbytes: int) -> Prediction:
        """The predicted time of a buffer of `nbytes` bytes: by the model of `collsched.cost`, or of a plan whose shape
        was chosen by simulation, simulated. Verifies the plan on first use."""
        if self.ranges:
            return self.at(nbytes).predict(nbytes)
        report = self.report
        if "pacing" in self.options:
            seconds = Simulation(self.topology, self.shape(self.topology, self._schedule, nbytes)).seconds(nbytes)
            busy = float(report.ratio * nbytes / (self.weight * GB))
            return Prediction(nbytes, seconds, busy, (self.segments,) * len(self.forests))
        together = report.ratio if self.joint else None
        return predict(self.topology, self.forests, report.forests, self.weight, nbytes, together=together)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the plan to one file, whole or not at all. An existing file that is no plan stays, unless `force`."""
        header, arrays = encoding.encode(self.topology, self._own, self.variants, self.ranges)
        header |= {"provenance": dict(self.provenance), "digest": self.digest}
        header["bound"], cuts = encoding.encode_bound(self.bound)
        arrays |= cuts
        for i, (variant, described) in enumerate(zip(self.variants, header["variants"], strict=True)):
            described["bound"], cuts = encoding.encode_bound(variant.bound, f"variants.{i}.")
            arrays |= cuts
        container.write(Path(path), header, arrays, force=force)

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Read a plan file. Raises PlanError if it is damaged, edited, malformed or of another version.

        What a file claims is not believed by loading it: see `verify`.
        """
        path = Path(path)
        header, arrays = container.read(path)
        topology, own, provenance, variants, ranges = encoding.decode(path, header, arrays)
        plan = Plan(topology, own.collective, own.forests, own.bound, own.options, provenance, variants, ranges)
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
    def shape(self) -> Shape:
        """How the plan is meant to be run at `size`."""
        return Shape(self.segments, self.pacing)

    @property
    def pacing(self) -> Pacing:
        """Option `pacing`."""
        return next((known for known in PACINGS if known == self.options.get("pacing")), "none")

    @property
    def joint(self) -> bool:
        """Whether the phases of an allreduce run at once on shares of the links (option `allreduce`)."""
        return self.options.get("allreduce") == "joint"

    @property
    def weight(self) -> int:
        """W: the shard sizes of one buffer (see `Collective.weight`)."""
        return self.collective.weight
