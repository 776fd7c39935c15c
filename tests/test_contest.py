"""Plans chosen by simulated time: never slower than a usual algorithm, and nothing is lost between file and run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_fabrics

import collsched
from collsched import contest
from collsched.algorithms import baselines
from collsched.choice import Contestant, Timed
from collsched.collective import KINDS, Kind, make_collective
from collsched.contest import Contest
from collsched.errors import InputError, UnreachableError
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.plan import Plan
from collsched.simulate import Simulation
from collsched.topology.library import bundled

SIZES = (1 << 10, 1 << 16, 1 << 20, 1 << 24)


def test_never_slower_than_a_usual_algorithm() -> None:
    topology = bundled("dgx-a100", boxes=2)
    for kind in ("allreduce", "allgather", "broadcast"):
        options = {"root": 0} if kind == "broadcast" else {}
        plan = collsched.compile(topology, kind, objective="auto", sizes=SIZES, size=SIZES[-1], **options)
        rivals = [
            Contestant(topology, lower(topology, rival.collective, rival.forests))
            for rival in baselines(topology, plan.collective)
        ]
        for nbytes in SIZES:
            ours = Simulation(topology, plan.shaped(nbytes)).seconds(nbytes)
            assert ours <= min(rival.at(nbytes).seconds for rival in rivals) * (1 + 1e-9)
            assert ours == pytest.approx(plan.predict(nbytes).seconds)
            row = next(row for row in plan.provenance["candidates"] if row["bytes"] == nbytes)
            assert ours == pytest.approx(row["seconds"])  # the first of a size is the winner


def test_ranges_survive_the_file(tmp_path: Path) -> None:
    plan = collsched.compile(bundled("unequal-boxes", boxes=2), objective="auto", sizes=SIZES)
    assert len(plan.ranges) > 1 and plan.ranges[-1].upto is None
    plan.save(tmp_path / "plan.cs")
    loaded = Plan.load(tmp_path / "plan.cs")
    assert loaded.digest == plan.digest and loaded.ranges == plan.ranges
    assert loaded.provenance["candidates"] == plan.provenance["candidates"]
    loaded.verify()
    for nbytes in (0, *SIZES, 1 << 32):
        one, two = plan.shaped(nbytes), loaded.shaped(nbytes)
        assert all(
            np.array_equal(getattr(one.transfers, column), getattr(two.transfers, column))
            for column in ("chunk", "route", "op", "join", "channel")
        )
        verify(loaded.topology, two)
        assert loaded.at(nbytes).digest == plan.at(nbytes).digest
    own = loaded.at(loaded.size)
    assert np.array_equal(own.forests[0].edges, loaded.forests[0].edges)


@pytest.mark.parametrize("seed", range(20))
def test_random_fabrics(seed: int) -> None:
    case = random_fabrics.case(seed, ranks=5, switches=2, balanced=True)
    kind, group = case.collective.kind, list(case.collective.group)
    try:
        plan = collsched.compile(
            case.topology, kind, group=group, root=case.collective.root, objective="auto", sizes=SIZES[:2], size=1 << 16
        )
    except UnreachableError:
        return
    for nbytes in SIZES:
        seconds = Simulation(case.topology, plan.shaped(nbytes)).seconds(nbytes)
        bound = float(plan.report.bound) * nbytes / (plan.weight * 1e9)
        if kind is not Kind.ALLREDUCE:
            assert seconds >= bound * (1 - 1e-9) - 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_trees_between_partners_compete_for_every_kind(kind: Kind) -> None:
    """But for an all-to-all, which does not move along trees."""
    rooted = kind in (Kind.BROADCAST, Kind.REDUCE, Kind.GATHER, Kind.SCATTER)
    topology = bundled("degraded", boxes=2)
    plan = collsched.compile(
        topology, kind, objective="auto", sizes=(1 << 20,), size=1 << 20, root=3 if rooted else None
    )
    variants = {row["variant"] for row in plan.provenance["candidates"]}
    assert any("partners" in variant for variant in variants) == (kind is not Kind.ALL_TO_ALL)
    assert plan.report


def test_the_choice_does_not_depend_on_who_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(_: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)

    topology = bundled("degraded", boxes=2)
    plan = collsched.compile(topology, "reduce-scatter", objective="auto", sizes=SIZES[2:], size=SIZES[-1])
    monkeypatch.setattr(contest, "ThreadPoolExecutor", alone)
    same = collsched.compile(topology, "reduce-scatter", objective="auto", sizes=SIZES[2:], size=SIZES[-1])
    assert plan.digest == same.digest and plan.ranges == same.ranges
    assert plan.provenance["candidates"] == same.provenance["candidates"]


def test_an_interruption_ends_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in this thread, while others are at work."""
    topology = bundled("dgx-a100", boxes=2)
    collective = make_collective(topology, "allgather")
    trials = Contest(topology, lambda _: 0.0)
    for entry in contest.known_algorithms(topology, collective):
        trials.enter(entry)
    at, ends = Contestant.at, list[BaseException | None]()

    def interrupted(self: Contestant, *arguments: Any) -> Timed:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        try:
            while True:  # until it is told to stop
                at(self, *arguments)
        except InterruptedError as error:
            ends.append(error)
            raise

    monkeypatch.setattr(Contestant, "at", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trials.heat(1 << 20)
    assert len(ends) == contest.ABREAST - 1


def test_latency_is_for_small_buffers() -> None:
    topology = bundled("dgx-a100", boxes=2)
    plan = collsched.compile(topology, objective="latency")
    assert len(plan.ranges) == 1
    throughput = collsched.compile(topology)
    assert Simulation(topology, plan.shaped(1024)).seconds(1024) * 5 < Simulation(
        topology, throughput.shaped(1024)
    ).seconds(1024)


def test_bad_objectives() -> None:
    topology = bundled("torus-2d", dims="2x2")
    with pytest.raises(InputError, match="objective 'fast'"):
        collsched.compile(topology, objective="fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="objective auto"):
        collsched.compile(topology, sizes=[1])
    with pytest.raises(InputError, match="above 0"):
        collsched.compile(topology, objective="auto", sizes=[0])


def test_one_rank_has_nothing_to_choose() -> None:
    plan = collsched.compile(bundled("torus-2d", dims="2x2"), group=[1], objective="auto")
    assert plan.ranges == () and plan.at(5) is plan
