"""The simulator: closed forms, a slow simulator that it must agree with, and what no schedule can do."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import log2

import made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation_oracle import Oracle

from collsched.algorithms import baselines
from collsched.collective import Kind, make_collective
from collsched.compiler import compile
from collsched.errors import InputError, VerificationError
from collsched.forest.bounds import allreduce_bound
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.passes.segment import Segment
from collsched.plan import Plan
from collsched.simulate import Model, Simulation
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology

MICRO = 1e-6
EXACT = 1e-9  # relative
COSTS = (Fraction(0), Fraction(1), Fraction(7, 3))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("nbytes", [8000, 8 * 10**7])
@pytest.mark.parametrize(("kind", "rounds"), [("allgather", 1), ("reduce-scatter", 1), ("allreduce", 2)])
def test_a_ring_takes_n_minus_1_steps(kind: str, rounds: int, nbytes: int, cost: Fraction) -> None:
    fabric = made.star(8)
    ring = next(b for b in baselines(fabric, make_collective(fabric, kind)) if b.name == "ring")
    seconds = Simulation(fabric, lower(fabric, ring.collective, ring.forests), Model(cost)).seconds(nbytes)
    step = (float(cost) + 2) * MICRO + nbytes / 8 / 10e9
    assert seconds == pytest.approx(rounds * 7 * step, rel=EXACT)


@pytest.mark.parametrize("cost", COSTS)
def test_a_multicast_takes_two_hops_and_one_preparation(cost: Fraction) -> None:
    """The switch holds the whole chunk before it copies it, and prepares nothing."""
    plain = made.star(6)
    nodes = (*plain.nodes[:-1], replace(plain.nodes[-1], multicast=True))
    fabric, nbytes = replace(plain, nodes=nodes), 10**6
    plan = compile(fabric, "broadcast")
    for store_and_forward in (False, True):
        seconds = Simulation(fabric, plan.schedule(), Model(cost, store_and_forward)).seconds(nbytes)
        assert seconds == pytest.approx(float(cost) * MICRO + 2 * (MICRO + nbytes / 10e9), rel=EXACT)


@pytest.mark.parametrize("cost", COSTS)
def test_an_in_network_allreduce_goes_up_and_down_in_turn(cost: Fraction) -> None:
    """Up: the first contribution, then all others at once. Then to the root, up again, and down to all."""
    plain = made.star(6)
    nodes = (*plain.nodes[:-1], replace(plain.nodes[-1], multicast=True, reduce=True))
    fabric, nbytes = replace(plain, nodes=nodes), 10**6
    plan = compile(fabric, "allreduce")
    hop = MICRO + nbytes / 10e9
    seconds = Simulation(fabric, plan.schedule(), Model(cost)).seconds(nbytes)
    assert seconds == pytest.approx(3 * float(cost) * MICRO + 5 * hop, rel=EXACT)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("ranks", [2, 4, 16])
def test_recursive_doubling_takes_log_n_steps(ranks: int, cost: Fraction) -> None:
    fabric, piece = made.star(ranks), 10**5
    paths = [(a, ranks, b) for a in range(ranks) for b in range(ranks) if a != b]
    transfers: list[tuple[int, int, list[int], int]] = []
    holds: list[dict[int, list[int]]] = [{r: []} for r in range(ranks)]  # rank → chunk → the transfer that brought it
    for bit in range(int(log2(ranks))):
        before = [sorted({t for came in place.values() for t in came}) for place in holds]
        new = [dict(place) for place in holds]
        for rank in range(ranks):
            peer = rank ^ 1 << bit
            for chunk in holds[rank]:
                new[peer][chunk] = [len(transfers)]
                transfers.append((chunk, paths.index((rank, ranks, peer)), before[rank], 0))
        holds = new
    seconds = Simulation(fabric, made.schedule(fabric, [1] * ranks, paths, transfers), Model(cost)).seconds(
        ranks * piece
    )
    # Of the pieces of a message, all but the first are prepared while others are sent.
    steps = log2(ranks) * (float(cost) + 2) * MICRO
    assert seconds == pytest.approx(steps + (ranks - 1) * piece / 10e9, rel=EXACT)


def bottleneck(flows: int) -> Topology:
    """Senders, two switches with one link of 10 GB/s between them, receivers; every other link has 100 GB/s."""
    nodes = [Node(f"r{i}", "rank") for i in range(2 * flows)] + [Node("a", "switch"), Node("b", "switch")]
    a, b = 2 * flows, 2 * flows + 1
    links = [(i, a, 100) for i in range(flows)] + [(a, b, 10)] + [(b, flows + i, 100) for i in range(flows)]
    return Topology("bottleneck", tuple(nodes), tuple(Link(u, v, Fraction(r), Fraction(1)) for u, v, r in links))


@pytest.mark.parametrize("flows", [1, 2, 7, 40])
def test_flows_share_a_bottleneck(flows: int) -> None:
    fabric = bottleneck(flows)
    paths = [(i, 2 * flows, 2 * flows + 1, flows + i) for i in range(flows)]
    schedule = made.schedule(fabric, [1] * flows, paths, [(i, i, [], 0) for i in range(flows)])
    arrivals = Simulation(fabric, schedule).arrivals(flows * 10**6)
    assert arrivals == pytest.approx([4 * MICRO + flows * 1e6 / 10e9] * flows, rel=EXACT)


def test_short_flows_leave_their_share_to_long_ones() -> None:
    """Flows of 1, 2, … f units over one link: the i-th ends when i units each, and all shorter ones, have passed."""
    flows = 6
    fabric = bottleneck(flows)
    paths = [(i, 2 * flows, 2 * flows + 1, flows + i) for i in range(flows)]
    lengths = list(range(1, flows + 1))
    schedule = made.schedule(fabric, lengths, paths, [(i, i, [], 0) for i in range(flows)])
    arrivals = Simulation(fabric, schedule).arrivals(sum(lengths) * 10**6)
    passed = [sum(min(i, j) for j in lengths) for i in lengths]
    assert arrivals == pytest.approx([4 * MICRO + units * 1e6 / 10e9 for units in passed], rel=EXACT)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("pieces", [1, 3, 64])
def test_a_chain_is_pipelined(pieces: int, cost: Fraction) -> None:
    hops, nbytes = 5, 64 * 3 * 10**4
    fabric = made.chain(hops + 1)
    paths = [(i, i + 1) for i in range(hops)]
    whole = made.schedule(fabric, [1], paths, [(0, i, [i - 1] if i else [], 0) for i in range(hops)])
    seconds = Simulation(fabric, Segment(pieces)(whole), Model(cost)).seconds(nbytes)
    busy, prepare = nbytes / pieces / 10e9, float(cost) * MICRO
    expected = hops * (prepare + busy + 2 * MICRO) + (pieces - 1) * max(prepare, busy)
    assert seconds == pytest.approx(expected, rel=EXACT)


def test_switches_cut_through_or_store() -> None:
    nodes = (Node("a", "rank"), Node("s", "switch"), Node("t", "switch"), Node("b", "rank"))
    rates, alphas = (10, 40, 20), (1, 2, 3)
    links = (Link(i, i + 1, Fraction(rates[i]), Fraction(alphas[i])) for i in range(3))
    fabric = Topology("line", nodes, tuple(links))
    schedule = made.schedule(fabric, [1], [(0, 1, 2, 3)], [(0, 0, [], 0)])
    through, stored = (Simulation(fabric, schedule, Model(Fraction(1), way)).seconds(10**6) for way in (False, True))
    assert through == pytest.approx(7 * MICRO + 1e6 / 10e9, rel=EXACT)
    assert stored == pytest.approx(7 * MICRO + 1e6 / 10e9 + 1e6 / 40e9 + 1e6 / 20e9, rel=EXACT)


@pytest.mark.parametrize("split", [False, True], ids=["cut-through", "store-and-forward"])
@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 10**6), nbytes=st.sampled_from([3, 1000, 10**6]), cost=st.sampled_from(COSTS))
def test_it_agrees_with_a_slow_simulator(split: bool, seed: int, nbytes: int, cost: Fraction) -> None:
    topology, schedule = made.anything(seed)
    found = Simulation(topology, schedule, Model(cost, split)).arrivals(nbytes)
    expected = Oracle(topology, schedule, nbytes, cost, split).run()
    assert found == pytest.approx([float(when) for when in expected], rel=1e-8, abs=1e-15)


@cache
def compiled(name: str, kind: str) -> Plan:
    family, _, seed = name.partition("random-")
    return compile(bundled("random-switched", seed=seed) if seed else bundled(family), kind)


FABRICS = ("dgx-a100", "mi250", "torus-2d", "unequal-boxes")


def proven(plan: Plan) -> Fraction:
    """What no schedule can beat, in 1/(GB/s) per unit of shard weight."""
    if plan.collective.kind is Kind.ALLREDUCE:
        return allreduce_bound(plan.topology, plan.collective).ratio
    return plan.report.bound


@pytest.mark.parametrize("kind", ["allgather", "reduce-scatter", "allreduce", "broadcast"])
@pytest.mark.parametrize("name", [*FABRICS, *(f"random-{i}" for i in range(4))])
def test_no_schedule_beats_the_bound_or_its_own_loads(name: str, kind: str) -> None:
    plan = compiled(name, kind)
    schedules = [(plan.collective, plan.schedule(pieces)) for pieces in (1, 8)]
    for baseline in baselines(plan.topology, plan.collective):
        schedules.append((baseline.collective, lower(plan.topology, baseline.collective, baseline.forests)))
    for collective, schedule in schedules:
        loads = verify(plan.topology, schedule).ratio / sum(collective.shards)
        assert loads >= proven(plan) / plan.weight
        for nbytes in (2**10, 2**20, 2**30):
            simulated = Simulation(plan.topology, schedule, Model(Fraction(0))).seconds(nbytes)
            # Bytes are whole, so that every chunk may have one less than its part.
            whole = nbytes - len(schedule.chunks.shard)
            assert simulated >= float(loads) * whole / 1e9 * (1 - 1e-9)
            assert simulated > 0


@pytest.mark.parametrize("name", FABRICS)
def test_time_grows_with_size_and_cost(name: str) -> None:
    plan = compiled(name, "allreduce")
    schedule = plan.schedule(4)
    times = [Simulation(plan.topology, schedule).seconds(1 << power) for power in range(8, 31, 2)]
    assert times == sorted(times)
    costs = [Simulation(plan.topology, schedule, Model(Fraction(cost))).seconds(1 << 20) for cost in (0, 1, 10)]
    assert costs == sorted(costs)


def test_nothing_to_move_takes_no_time() -> None:
    fabric = made.star(2)
    schedule = made.schedule(fabric, [1], [(0, 2, 1)], [(0, 0, [], 0)])
    assert Simulation(fabric, schedule).seconds(0) == 0.0
    plan = compile(fabric, "allgather", group="0")
    assert Simulation(fabric, plan.schedule()).seconds(100) == 0.0


def test_transfers_that_wait_for_each_other_are_told() -> None:
    fabric = made.star(2)
    schedule = made.schedule(fabric, [1, 1], [(0, 2, 1), (1, 2, 0)], [(0, 0, [1], 0), (1, 1, [0], 0)])
    with pytest.raises(VerificationError, match="wait for each other"):
        Simulation(fabric, schedule).seconds(100)


def test_sizes_and_costs_have_limits() -> None:
    fabric = made.star(2)
    schedule = made.schedule(fabric, [1], [(0, 2, 1)], [(0, 0, [], 0)])
    for nbytes in (-1, 1 << 61):
        with pytest.raises(InputError, match="bytes from 0"):
            Simulation(fabric, schedule).seconds(nbytes)
    with pytest.raises(InputError, match="cost"):
        Model(Fraction(-1))


def test_the_native_core_checks_what_it_is_given() -> None:
    from collsched._core import Simulator

    one, ptr = np.zeros(1, np.int32), np.array([0, 1])
    good = {"bandwidth": np.ones(1), "route_ptr": ptr, "route_links": one, "latency": np.zeros(1), "route": one}
    good |= {"lane": one, "sender": one, "join": one, "join_ptr": np.zeros(2, np.int64), "join_member": one[:0]}
    assert Simulator(**good).run(np.ones(1), 0.0) == [1.0]
    bad = [("bandwidth", np.zeros(1)), ("route", one + 1), ("join", one - 1), ("lane", one + 5), ("sender", one - 2)]
    bad += [("route_ptr", np.array([0, 2])), ("latency", -np.ones(1)), ("route_links", one + 3)]
    for name, value in bad:
        with pytest.raises(ValueError):
            Simulator(**(good | {name: value}))
    with pytest.raises(ValueError):
        Simulator(**good).run(np.ones(2), 0.0)
    two = {name: np.zeros(2, np.int32) for name in ("route", "lane", "join")}
    with pytest.raises(ValueError, match="two routes or senders"):
        Simulator(**(good | two | {"sender": np.array([0, 1], np.int32)}))
