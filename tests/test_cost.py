"""The cost model: against its own formula by brute force, and never below a bound."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collsched.compiler import compile
from collsched.cost import MAX_SEGMENTS, MICRO, _pipelined, hop_latency
from collsched.topology import bundled

SIZES = (0, 1, 1000, 2**20, 2**28, 2**34)


@pytest.mark.parametrize("kind", ["allgather", "allreduce", "broadcast"])
@pytest.mark.parametrize("name", ["dgx-a100", "mi250", "torus-2d", "unequal-boxes"])
def test_predictions_stay_above_the_bound_and_near_it_at_size(name: str, kind: str) -> None:
    plan = compile(bundled(name), kind)
    for nbytes in SIZES:
        predicted = plan.predict(nbytes)
        bound = float(Fraction(nbytes, plan.weight * 10**9) * plan.report.bound)
        assert bound <= predicted.bandwidth_seconds <= predicted.seconds
        assert predicted.seconds > 0
    assert predicted.seconds < 1.25 * bound
    assert predicted.algbw_GBps == pytest.approx(nbytes / predicted.seconds / 1e9)


def test_predictions_grow_with_size() -> None:
    plan = compile(bundled("mi250"), "allreduce")
    times = [plan.predict(nbytes).seconds for nbytes in SIZES]
    assert times == sorted(times)


@given(
    busy=st.fractions(0, 1, max_denominator=10**6),
    depth=st.integers(1, 40),
    alpha=st.fractions(0, Fraction(1, 10**4), max_denominator=10**9),
)
def test_the_number_of_segments_is_the_best_there_is(busy: Fraction, depth: int, alpha: Fraction) -> None:
    count, seconds = _pipelined(busy, depth, alpha)
    assert 1 <= count <= MAX_SEGMENTS
    assert seconds == (count + depth - 1) * (busy / count + alpha)
    assert all(
        seconds <= (s + depth - 1) * (busy / s + alpha)
        for s in (1, 2, 3, 5, 8, 16, 50, 200, count - 1 or 1, min(count + 1, MAX_SEGMENTS), MAX_SEGMENTS)
    )


def test_a_hop_is_as_slow_as_its_slowest_route() -> None:
    fabric = bundled("dgx-a100", boxes=2)
    plan = compile(fabric, "allgather")
    routes = plan.forests[0].routes
    alphas = [
        sum(fabric.links[link].alpha for link in routes.links[a:b].tolist())
        for a, b in zip(routes.ptr[:-1].tolist(), routes.ptr[1:].tolist(), strict=True)
    ]
    assert hop_latency(fabric, plan.forests[0]) == max(alphas) / MICRO


def test_nothing_to_move_takes_no_time() -> None:
    plan = compile(bundled("dgx-a100", boxes=1), "allgather", group="0")
    predicted = plan.predict(2**20)
    assert (predicted.seconds, predicted.algbw_GBps) == (0.0, None)
