"""Recorded transfers: what one rank received, from whom, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One piece of a chunk from rank `src` to rank `dst`. Times are seconds on a clock that all ranks of a host share.

    `ready`: the receiver could have taken it from here on, had it been there; `begin`, `end`: when it was moved.
    """

    call: int
    chunk: int
    src: int
    dst: int
    nbytes: int
    ready: float
    begin: float
    end: float
