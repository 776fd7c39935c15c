"""All-to-alls as libraries run them: which ranks they visit, how many messages, and how long they take."""

from __future__ import annotations

import random
from fractions import Fraction

import growth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.algorithms import Baseline, baselines
from collsched.choice import Contestant
from collsched.collective import Collective, make_collective
from collsched.compiler import compile
from collsched.errors import InputError
from collsched.forest.check import check_forest
from collsched.ir.schedule import Schedule
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.passes.fuse import Fuse
from collsched.passes.segment import Segment
from collsched.simulate import Model, Simulation
from collsched.topology import bundled
from collsched.topology.model import Topology

FREE = Model(Fraction(0))


def found(topology: Topology, collective: Collective | None = None) -> dict[str, Baseline]:
    collective = collective or make_collective(topology, "all-to-all")
    return {baseline.name: baseline for baseline in baselines(topology, collective)}


def schedule_of(topology: Topology, baseline: Baseline) -> Schedule:
    schedule = lower(topology, baseline.collective, baseline.forests)
    return Fuse()(schedule) if baseline.fused else schedule


def messages(schedule: Schedule) -> int:
    transfers = schedule.transfers
    lanes = np.stack([transfers.route, transfers.channel, transfers.join])
    return 1 + int((lanes[:, 1:] != lanes[:, :-1]).any(axis=0).sum())


@pytest.mark.parametrize("name", ["dgx-h100", "leaf-spine", "mi300x"])
def test_messages(name: str) -> None:
    """Two boxes of eight: every rank sends 15 messages, or 7 + 1, or 4."""
    topology = bundled(name, boxes=2)
    each = {"direct": 15, "hierarchical": 8, "bruck": 4}
    rivals = found(topology)
    assert list(rivals) == [name for name in each if name in rivals] and {"direct", "hierarchical"} <= set(rivals)
    for rival, baseline in rivals.items():
        schedule = schedule_of(topology, baseline)
        verify(topology, schedule)
        assert messages(schedule) == 16 * each[rival]


def test_a_hierarchical_exchange_stays_on_its_index() -> None:
    topology = bundled("dgx-h100", boxes=3)
    (forest,) = found(topology)["hierarchical"].forests
    ends = [
        (topology.rank_of[topology.links[a].src], topology.rank_of[topology.links[b].dst])
        for a, b in zip(
            forest.routes.links[forest.routes.ptr[:-1]], forest.routes.links[forest.routes.ptr[1:] - 1], strict=True
        )
    ]
    between = [(a, b) for a, b in ends if a // 8 != b // 8]
    assert len(between) == 24 * 2 and all(a % 8 == b % 8 for a, b in between)


def test_direct_goes_through_ranks_only_where_it_must() -> None:
    assert all(np.diff(found(bundled(name))["direct"].forests[0].ptr).max() == 1 for name in ("leaf-spine", "dgx-h100"))
    hops = np.diff(found(bundled("torus-2d"))["direct"].forests[0].ptr)
    assert hops.max() == 4 and hops.mean() == pytest.approx(32 / 15)  # the shortest ways on a torus of 4 × 4
    assert list(found(bundled("torus-2d"))) == ["direct"]


def test_direct_serves_everyone_in_turn() -> None:
    """No two senders begin with the same target."""
    topology = bundled("dgx-h100", boxes=1)
    transfers = schedule_of(topology, found(topology)["direct"]).transfers
    target = transfers.chunk % 8
    assert all(len(set(target[i : i + 8].tolist())) == 8 for i in range(0, 56, 8))


@pytest.mark.parametrize("nbytes", [8 * 10**4, 8 * 10**8])
def test_direct_on_a_switch_is_as_fast_as_a_port(nbytes: int) -> None:
    topology = bundled("dgx-h100", boxes=1)
    seconds = Simulation(topology, schedule_of(topology, found(topology)["direct"]), FREE).seconds(nbytes)
    alpha = float(2 * topology.links[0].alpha) * 1e-6
    assert seconds == pytest.approx(alpha + nbytes * 7 / 8 / float(topology.links[0].bandwidth) / 1e9)


@pytest.mark.parametrize("nbytes", [8 * 10**4, 8 * 10**8])
def test_bruck_takes_log_n_steps_of_half_the_buffer(nbytes: int) -> None:
    topology = bundled("dgx-h100", boxes=1)
    bruck = found(topology)["bruck"]
    cost, link = Fraction(3), topology.links[0]
    seconds = Simulation(topology, schedule_of(topology, bruck), Model(cost), bruck.fused).seconds(nbytes)
    # A sender prepares its next message while one is on its way, but has to wait for what goes into it.
    step = float(cost + 2 * link.alpha) * 1e-6 + nbytes / 2 / float(link.bandwidth) / 1e9
    assert seconds == pytest.approx(3 * step)


def test_small_buffers_prefer_few_messages_and_large_ones_the_best_paths() -> None:
    topology = bundled("dgx-h100", boxes=4)
    rivals = found(topology)

    def seconds(name: str, nbytes: int) -> float:
        return Simulation(topology, schedule_of(topology, rivals[name]), fused=rivals[name].fused).seconds(nbytes)

    assert seconds("hierarchical", 1 << 10) < seconds("direct", 1 << 10)
    assert seconds("direct", 1 << 28) < seconds("hierarchical", 1 << 28)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), pieces=st.integers(1, 3))
def test_on_any_fabric_what_applies_is_right_and_no_faster_than_the_bound(seed: int, pieces: int) -> None:
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(2, 6), rng.randint(0, 3))
    names = [topology.nodes[rank].name for rank in topology.ranks]
    sizes = {a: {b: rng.choice((0, 1, 5)) for b in names} for a in names}
    sizes[names[0]][names[-1]] = 1
    plan = compile(topology, "all-to-all", matrix=sizes)
    nbytes = 10**6
    bound = nbytes / plan.weight * float(plan.report.bound) / 1e9
    for baseline in found(topology, plan.collective).values():
        check_forest(topology, plan.collective, baseline.forests[0], reverse=False)
        schedule = Segment(pieces)(schedule_of(topology, baseline))
        verify(topology, schedule)
        assert Simulation(topology, schedule, FREE, baseline.fused).seconds(nbytes) >= bound * (1 - 1e-9)
    assert Simulation(topology, plan.schedule(pieces), FREE).seconds(nbytes) >= bound * (1 - 1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_fusing_keeps_a_plan_right_or_refuses(seed: int) -> None:
    rng = random.Random(seed)
    plan = compile(growth.fabric(rng, rng.randint(2, 6), rng.randint(0, 2)), "all-to-all")
    schedule = plan.schedule()
    try:
        fused = Fuse()(schedule)
    except InputError as error:
        assert "circle" in str(error)
        return
    assert verify(plan.topology, fused).ratio == plan.report.ratio
    assert messages(fused) == len(np.unique(schedule.transfers.route))


def test_messages_that_wait_for_each_other_cannot_be_fused() -> None:
    """Round a ring, what a rank sends on came over the route before, and so on in a circle."""
    topology = bundled("torus-2d", dims="3x3")
    with pytest.raises(InputError, match="circle"):
        Fuse()(compile(topology, "all-to-all").schedule())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dgx-a100", {"boxes": 2}),
        ("dgx-a100", {"boxes": 8}),
        ("leaf-spine", {"boxes": 2}),
        ("torus-2d", {}),
        ("mi250", {}),
    ],
)
def test_large_buffers_take_little_more_than_the_bound(name: str, parameters: dict[str, int]) -> None:
    plan = compile(bundled(name, **parameters), "all-to-all")
    nbytes = 1 << 30
    seconds = Contestant(plan.topology, plan.schedule()).at(nbytes).seconds
    bound = nbytes / plan.weight * float(plan.report.bound) / 1e9
    assert bound <= seconds <= 1.05 * bound
