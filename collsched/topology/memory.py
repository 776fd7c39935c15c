"""The memory that the ranks of one machine share, as a fabric."""

from __future__ import annotations

from fractions import Fraction

from collsched.topology.builder import Builder
from collsched.topology.model import Topology

_RATE = Fraction(10)  # GB/s of every rank: only the proportions matter, and they are equal


def one_machine(ranks: int) -> Topology:
    """Ranks that reach each other through one shared memory: a hub, without links to prefer. For the shm engine, where
    no topology is given. Raises InputError for no rank at all."""
    builder = Builder()
    for rank in range(ranks):
        builder.node(f"rank{rank}", "rank")
    memory = builder.node("memory", "switch")
    for rank in range(ranks):
        builder.both(rank, memory, _RATE, Fraction(1))
    return builder.finish(f"one machine with {ranks} ranks", None)
