"""What was asked of the compiler, and how long its stages take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from collsched.collective import Collective
from collsched.topology.model import Topology

Pipeline = Literal["auto", "fast", "guaranteed"]


@dataclass(frozen=True, slots=True)
class Stages:
    """Names each stage to `progress` as it begins, and keeps the seconds that it took."""

    progress: Callable[[str], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def tell(self, what: str) -> None:
        """Names what goes on within a stage."""
        if self.progress is not None:
            self.progress(what)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Request:
    """What `compile` was asked for."""

    topology: Topology
    collective: Collective
    stage: Stages
    size: int
    trees_per_root: int | None
    seed: int
    pipeline: Pipeline
