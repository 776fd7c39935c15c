"""Simulated times of known algorithms on ideal fabrics: what their authors' formulas say."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, inf, log2

import made
import pytest
from catalogued import built

from collsched.algorithms import Baseline, candidates
from collsched.collective import Kind, make_collective
from collsched.lower import lower
from collsched.passes.segment import Segment
from collsched.simulate import Model, Simulation
from collsched.topology import bundled
from collsched.topology.model import Topology

MICRO = 1e-6
EXACT = 1e-3  # relative
ALPHA = 2  # µs of a route on a star of links of 1 µs
RATE = 10e9  # bytes a second


def seconds(fabric: Topology, baseline: Baseline, nbytes: int, cost: float = 1, pieces: int = 1) -> float:
    schedule = Segment(pieces)(lower(fabric, baseline.collective, baseline.forests))
    return Simulation(fabric, schedule, Model(Fraction(cost))).seconds(nbytes)


@pytest.mark.parametrize("ranks", [2, 5, 8, 13])
@pytest.mark.parametrize(("kind", "phases"), [("allgather", 1), ("reduce-scatter", 1), ("allreduce", 2)])
def test_direct_takes_one_step(kind: str, phases: int, ranks: int) -> None:
    """A reduce-scatter is issued shard by shard, so that all begin with the same receiver, for a cost a rank."""
    fabric, nbytes = made.star(ranks), ranks * 10**6
    step = (1 + ALPHA) * MICRO + (ranks - 1) * 1e6 / RATE
    crowd = 0 if kind == "allgather" else (ranks - 1) * (1 + ALPHA) * MICRO
    found = seconds(fabric, built(fabric, kind, "direct"), nbytes)
    assert phases * step * (1 - EXACT) <= found <= (phases * step + crowd) * (1 + EXACT)


@pytest.mark.parametrize("ranks", [2, 5, 8])
@pytest.mark.parametrize("kind", ["gather", "scatter", "broadcast", "reduce"])
def test_a_star_is_as_fast_as_its_middle(kind: str, ranks: int) -> None:
    fabric, piece = made.star(ranks), 10**6
    nbytes = piece * ranks if kind in ("gather", "scatter") else piece
    expected = (1 + ALPHA) * MICRO + (ranks - 1) * piece / RATE
    assert seconds(fabric, built(fabric, kind, "direct"), nbytes) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("kind", ["broadcast", "reduce"])
def test_a_chain_is_pipelined(kind: str, pieces: int) -> None:
    fabric, hops, nbytes = made.star(6), 5, 6 * 10**6
    piece = nbytes / pieces / RATE
    expected = hops * ((1 + ALPHA) * MICRO + piece) + (pieces - 1) * piece
    assert seconds(fabric, built(fabric, kind, "chain"), nbytes, pieces=pieces) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("kind", ["gather", "scatter"])
def test_a_chain_hands_every_shard_on(kind: str) -> None:
    fabric, ranks, piece = made.star(6), 6, 10**6
    found = seconds(fabric, built(fabric, kind, "chain"), ranks * piece)
    assert found == pytest.approx((ranks - 1) * ((1 + ALPHA) * MICRO + piece / RATE), rel=EXACT)


STEPS = {
    "halving-doubling": lambda n: log2(n),
    "swing": lambda n: log2(n),
    "bruck": lambda n: ceil(log2(n)),
}


@pytest.mark.parametrize("ranks", [4, 8, 16])
@pytest.mark.parametrize("name", STEPS)
def test_small_messages_pay_for_every_shard_and_every_step(name: str, ranks: int) -> None:
    """The last step's n / 2 shards leave one after another; all before them have been prepared in the meantime. With no
    cost a transfer, latencies alone are left."""
    fabric = made.star(ranks, bandwidth=10**6)
    baseline = built(fabric, "allgather", name)
    steps = STEPS[name](ranks)
    assert seconds(fabric, baseline, 8 * ranks, cost=0) == pytest.approx(steps * ALPHA * MICRO, rel=EXACT)
    one = seconds(fabric, baseline, 8 * ranks, cost=1)
    assert (ranks - 1 + ALPHA) * MICRO <= one * (1 + EXACT) and one <= (ranks - 1 + steps * ALPHA) * MICRO * (1 + EXACT)


@pytest.mark.parametrize("ranks", [4, 8, 16, 32])
def test_a_binomial_tree_takes_log_n_steps(ranks: int) -> None:
    fabric = made.star(ranks, bandwidth=10**6)
    for kind in ("broadcast", "reduce"):
        found = seconds(fabric, built(fabric, kind, "binomial", "near"), 64)
        assert found == pytest.approx(log2(ranks) * (1 + ALPHA) * MICRO, rel=EXACT)


def informed(microseconds: int, delay: int) -> int:
    """How many ranks a greedy tree reaches in time, where each begins a message a µs that takes `delay` µs: generalised
    Fibonacci numbers (Bar-Noy and Kipnis 1992, section 3)."""
    counts = [1]
    for t in range(1, microseconds + 1):
        counts.append(counts[t - 1] + (counts[t - delay] if t >= delay else 0))
    return counts[-1]


@pytest.mark.parametrize("ranks", range(2, 42, 3))
@pytest.mark.parametrize("alpha", [Fraction(0), Fraction(1, 2), Fraction(1), Fraction(3)])
def test_postal_trees_are_as_fast_as_any(alpha: Fraction, ranks: int) -> None:
    fabric = made.star(ranks, bandwidth=10**6, alpha=alpha)
    least = next(t for t in range(100) if informed(t, 1 + int(2 * alpha)) >= ranks)
    found = seconds(fabric, built(fabric, "broadcast", "postal"), 64)
    assert found == pytest.approx(least * MICRO, rel=EXACT)


def test_postal_trees_beat_or_equal_a_binomial_one_and_a_star() -> None:
    """On two boxes, where routes differ."""
    fabric = bundled("dgx-a100")
    times: dict[str, float] = {}
    for candidate in candidates(fabric, make_collective(fabric, Kind.BROADCAST)):
        baseline = candidate.build()
        assert baseline is not None
        times[candidate.name] = min(times.get(candidate.name, inf), seconds(fabric, baseline, 64))
    assert times["postal"] == min(times.values())
    assert times["postal"] < times["binomial"] and times["postal"] < times["direct"]


@pytest.mark.parametrize("half", ["", ", both ways at once"])
@pytest.mark.parametrize("dims", ["5x5", "3x3x3", "7x7"])
def test_all_links_of_a_torus_are_busy(dims: str, half: str) -> None:
    """2·D copies: (n − 1) / (2·D) shards over every link, which never rests."""
    extents = [int(extent) for extent in dims.split("x")]
    fabric = bundled("torus-2d" if len(extents) == 2 else "torus-3d", dims=dims)
    ranks, copies = len(fabric.ranks), 2 * len(extents)
    nbytes = ranks * copies * 10**7
    bucket = built(fabric, "allgather", "bucket", f"{dims}{half}, {copies}")
    expected = (ranks - 1) / copies * nbytes / ranks / 50e9
    assert seconds(fabric, bucket, nbytes, cost=0) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("between", ["ring", "halving-doubling", "direct"])
def test_hierarchical_crosses_between_hosts_once(between: str) -> None:
    """Four boxes of eight: a NIC of 25 GB/s takes 3 shards in, of 32; within, a rank of 300 GB/s gives 4 to all 7."""
    fabric = bundled("dgx-a100", boxes="4")
    nbytes = 32 * 10**8
    baseline = built(fabric, "allgather", "hierarchical", f"4x8, {between} between, direct")
    within, across = 4 * 7 * 1e8 / 300e9, 3 * 1e8 / 25e9
    found = seconds(fabric, baseline, nbytes)
    assert across < found < across + within
