"""What `collsched bench` says: tables, JSON, files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collsched.bench import table
from collsched.bench.results import PLAN, Match, Measurement, matches, mean_busbw, scores
from collsched.files import write_whole

if TYPE_CHECKING:
    from collsched.bench.ranks import Job, Message
    from collsched.cli._limits import Limit


class Report:
    """Takes the messages of rank 0 as they come."""

    def __init__(self, path: str, job: Job, *, quiet: bool) -> None:
        """`quiet`: nothing on stdout."""
        self.measured: list[Measurement] = []
        self._path, self._job, self._quiet = path, job, quiet
        self._start: dict[str, Any] = {}
        self._lacking: list[tuple[str, bool, str]] = []
        self._dropped: list[tuple[str, str, str]] = []
        self._trace: dict[str, Any] | None = None
        self._pending: list[Measurement] = []

    def take(self, message: Message) -> None:
        """One message; prints a line when a size is done."""
        if "start" in message:
            self._start = message["start"]
            self._begin()
        elif "measured" in message:
            new = [Measurement.from_json(row) for row in message["measured"]]
            self.measured += new
            self._pending += new
            if len(matches(self._pending)) == len(self._job.sweep.placements):
                self._say(table.line(self._job.plan.collective, matches(self._pending)))
                self._pending = []
        elif "lacking" in message:
            self._lacking = [(name, in_place, reason) for name, in_place, reason in message["lacking"]]
            self._dropped = [(name, setting, reason) for name, setting, reason in message["dropped"]]
        elif "trace" in message:
            self._trace = message["trace"]

    def finish(self, *, html: Path | None, samples: Path | None) -> None:
        """What follows the table, and the files."""
        found, collective = matches(self.measured), self._job.plan.collective
        self._say(*table.footer(found, collective), "")
        models = [self._model(match.plan.case.bytes) for match in found]
        self._say(*table.comparison(found, models), "", *self.notes(found))
        if self._trace is not None:
            size = self._job.sweep.cases(collective)[-1][0].bytes
            self._say("", f"delays in one call of {size} B ({self._trace['file']} has the timeline):")
            self._say(self._trace["text"] if self._trace["events"] else f"engine {self.engine} records no transfers")
        if samples is not None:
            from collsched.bench.samples import to_csv

            write_whole(samples, [to_csv(self.measured)])
        if html is not None:
            from collsched.report.measured import measured_page

            write_whole(html, [measured_page(self.as_json())])

    def notes(self, found: Sequence[Match]) -> list[str]:
        """What to make of it: losses first, then what the figures are and are not."""
        verdict = table.verdict(found, self._job.plan.collective)
        lines = sorted(verdict, key=lambda line: not line.startswith("slower")) or ["no baseline was measured"]
        for name, in_place, reason in self._lacking:
            lines.append(f"{name} was not measured {'in place' if in_place else 'out of place'}: {reason}")
        lines += [f"{name}, {setting} was not used: {reason}" for name, setting, reason in self._dropped]
        fabric = self._job.plan.topology.name
        lines.append(f"time is the median over {self._job.sweep.iterations} calls of the slowest rank, measured")
        lines.append(f"predicted and bound are those of the plan's fabric, {fabric}{self._imitated()}")
        return lines

    def _imitated(self) -> str:
        return ", whose links the shm engine does not imitate" if self.engine == "shm" else ""

    @property
    def engine(self) -> str:
        return str(self._start.get("engine", self._job.engine))

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints, and the page shows."""
        plan, sweep = self._job.plan, self._job.sweep
        found = matches(self.measured)
        rows = [row for match in found for row in self._rows(match)]
        return {
            "plan": self._path,
            "digest": plan.digest,
            "topology": plan.topology.name,
            "topology_digest": self._topology_digest,
            "collective": str(plan.collective.kind),
            "ranks": len(plan.topology.ranks),
            "engine": self.engine,
            "iterations": sweep.iterations,
            "warmup": sweep.warmup,
            "registered": sweep.registered,
            "rows": rows,
            "average_busbw_GBps": mean_busbw(found, float(plan.collective.busbw_factor)),
            "scores": [
                {
                    "baseline": score.engine,
                    "in_place": score.in_place,
                    "sizes": score.sizes,
                    "slower_at_bytes": list(score.lost),
                    "ratio": {"min": min(score.ratios), "mean": score.mean, "max": max(score.ratios)},
                }
                for score in scores(found)
            ],
            "left_out": self._start.get("left_out", {}),
            "not_measured": [
                {"baseline": name, "in_place": in_place, "reason": reason} for name, in_place, reason in self._lacking
            ],
            "not_used": [
                {"baseline": name, "setting": setting, "reason": reason} for name, setting, reason in self._dropped
            ],
            "notes": self.notes(found),
            "trace": self._trace,
            "provenance": self._start.get("provenance", {}),
        }

    def _rows(self, match: Match) -> list[dict[str, Any]]:
        model = self._model(match.plan.case.bytes)
        extra = {
            "ratio": match.ratio(match.best),
            "best_baseline": None if match.best is None else match.best.name,
            "predicted_seconds": model.predicted,
            "bound_seconds": model.bound,
        }
        return [self._row(match.plan) | extra] + [
            self._row(side) | {"ratio": match.ratio(side)} for side in match.baselines
        ]

    def _row(self, one: Measurement) -> dict[str, Any]:
        case, factor = one.case, float(self._job.plan.collective.busbw_factor)
        return {
            "side": PLAN if one.role == PLAN else "baseline",
            "collective": str(self._job.plan.collective.kind),
            "bytes": case.bytes,
            "count": case.count,
            "dtype": case.dtype,
            "op": case.op,
            "in_place": case.in_place,
            "engine": one.engine,
            "setting": one.setting,
            "seconds": {"p50": one.p50, "p95": one.p95, "min": one.min, "max": one.max},
            "algbw_GBps": one.algbw,
            "busbw_GBps": None if one.algbw is None else one.algbw * factor,
            "wrong": one.wrong,
        }

    @cached_property
    def _limit(self) -> Limit:
        from collsched.cli._limits import plan_limit

        return plan_limit(self._job.plan)

    def _model(self, nbytes: int) -> table.Model:
        bound = self._limit.bound.ratio * nbytes / (self._limit.weight * 10**9)
        return table.Model(self._job.plan.predict(nbytes).seconds, float(bound))

    @cached_property
    def _topology_digest(self) -> str:
        from collsched.bench.provenance import topology_digest

        return topology_digest(self._job.plan.topology)

    def _begin(self) -> None:
        job = self._job
        for name, reason in self._start["left_out"].items():
            click.echo(f"baseline {name} left out: {reason}", err=True)
        versions = self._start["provenance"]["versions"]
        beside = [text for name, text in versions.items() if name.startswith("baseline ")] or ["nothing"]
        self._say(
            f"# collsched {versions['collsched']}, {job.plan.collective.kind} on {len(job.plan.topology.ranks)} ranks, "
            f"engine {self.engine}, beside {', '.join(beside)}",
            f"# plan {job.plan.digest[:16]} of {job.plan.topology.name}; {self._start['provenance']['cpu']['model']}, "
            f"{self._start['provenance']['cpu']['cores']} cores, load {self._start['provenance']['load_1min']}",
            "#",
            *table.head(job.plan.collective),
        )

    def _say(self, *lines: str) -> None:
        if not self._quiet:
            for line in lines:
                click.echo(line)
