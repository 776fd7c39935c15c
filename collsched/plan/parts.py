"""What a plan is made of: variants of how to run the collective, and the sizes that each is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collsched.collective import Collective
from collsched.forest.model import Forest
from collsched.forest.optimum import Optimum
from collsched.passes.shape import Shape


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a collective: `forests` and `bound` hold one entry per phase, in the order of
    `forest.problem.directions`. `collective` is the plan's, or an allreduce that cuts the buffer into other shards.
    `options` are the choices that made it (JSON values)."""

    collective: Collective
    forests: tuple[Forest, ...]
    bound: tuple[Optimum, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Range:
    """Buffers of up to `upto` bytes that no range before holds (None: of all sizes) are moved by a variant, in
    `shape`. Variant 0 is the plan's own, variant i its `variants[i - 1]`."""

    upto: int | None
    variant: int
    shape: Shape
