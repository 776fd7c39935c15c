"""Libraries to compare with: which there are, which of them this run can use, and why not the others.

A library is a module of this package with

    missing(place)    why this process cannot use it, as (reason, whether a component is missing); None if it can
    connect(place)    its Baseline; collective
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from collsched.bench.sides import Baseline, Place
from collsched.errors import InputError, MissingComponentError

BASELINES = ("mpi", "gloo", "nccl")


def parse(names: Sequence[str]) -> tuple[str, ...]:
    """The words after `--baseline`, each once. Raises InputError."""
    for name in names:
        if name not in ("auto", "none", *BASELINES):
            raise InputError(f"--baseline {name!r}; choose auto, {', '.join(BASELINES)} or none")
    chosen = tuple(dict.fromkeys(names)) or ("auto",)
    if "none" in chosen and len(chosen) > 1:
        raise InputError("--baseline none and another one exclude each other; give either")
    return () if chosen == ("none",) else chosen


def open_baselines(names: Sequence[str], place: Place) -> tuple[list[Baseline], dict[str, str]]:
    """The baselines of `names`, and of those that `auto` left out the reasons. Collective: a baseline is used where all
    ranks can use it. Raises MissingComponentError or InputError for one asked for by name."""
    opened: list[Baseline] = []
    left_out: dict[str, str] = {}
    for name in BASELINES:
        if name not in names and "auto" not in names:
            continue
        told = place.control.gather(_module(name).missing(place))
        reason = next((reason for reason in told if reason), None)
        if reason is None:
            opened.append(_module(name).connect(place))
        elif name in names:
            text, component = reason
            raise (MissingComponentError if component else InputError)(f"--baseline {name}: {text}")
        else:
            left_out[name] = reason[0]
    return opened, left_out


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
