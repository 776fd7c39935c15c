"""Statistics, ratios and verdicts of given samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from samples_given import US, measurement

from collsched.bench.results import Match, Measurement, matches, mean_busbw, scores
from collsched.bench.samples import from_csv, to_csv
from collsched.bench.sweep import Case
from collsched.errors import InputError


def test_times_are_those_of_the_slowest_rank() -> None:
    samples = np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 0.5]])
    one = Measurement("plan", "shm", "default", Case(8, "float64", "sum", False), samples, 0)
    assert one.times.tolist() == [3.0, 5.0]
    assert (one.p50, one.min, one.max) == (4.0, 3.0, 5.0)
    assert one.p95 == pytest.approx(4.9)
    assert one.algbw == 64 / 4.0 / 1e9


def test_ratio_is_baseline_time_over_plan_time_of_the_best_baseline() -> None:
    match = Match(
        measurement([10.0]), [measurement([40.0], engine="mpi"), measurement([20.0], engine="mpi", setting="ring")]
    )
    assert match.best is match.baselines[1]
    assert match.ratio(match.best) == pytest.approx(2.0)
    assert not match.lost
    assert Match(measurement([10.0]), [measurement([9.9], engine="gloo")]).lost
    assert Match(measurement([10.0]), []).ratio(None) is None
    assert not Match(measurement([10.0]), []).lost


def test_a_tie_is_no_loss() -> None:
    assert not Match(measurement([10.0]), [measurement([10.0], engine="gloo")]).lost


def test_scores_take_the_best_setting_of_each_size() -> None:
    found = matches(
        [
            measurement([10.0], 256),
            measurement([40.0], 256, engine="mpi"),
            measurement([5.0], 256, engine="mpi", setting="ring"),
            measurement([10.0], 512),
            measurement([20.0], 512, engine="mpi"),
            measurement([10.0], 512, in_place=True),
            measurement([5.0], 512, engine="mpi", in_place=True),
        ]
    )
    out, inside = scores(found)
    assert (out.engine, out.in_place, out.lost, out.sizes) == ("mpi", False, [1024], 2)
    assert out.ratios == pytest.approx([0.5, 2.0])
    assert out.mean == pytest.approx(1.0)
    assert (inside.in_place, inside.lost, inside.sizes) == (True, [2048], 1)


def test_mean_busbw_counts_the_plan_alone() -> None:
    found = matches([measurement([10.0], 250), measurement([1.0], 250, engine="mpi"), measurement([20.0], 1000)])
    assert mean_busbw(found, 1.5) == pytest.approx(1.5 * (1000 / (10 * US) + 4000 / (20 * US)) / 2 / 1e9)


@given(
    st.lists(
        arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 3)),
               elements=st.floats(1e-9, 1e3, allow_nan=False)),
        min_size=1, max_size=4,
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=8),
    st.sampled_from([None, 0, 12]),
)  # fmt: skip
def test_csv_gives_back_every_sample(tables: list[np.ndarray], setting: str, wrong: int | None) -> None:
    given = [
        Measurement("baseline", "mpi", setting, Case(4 * number, "float16", "max", bool(number % 2)), table, wrong)
        for number, table in enumerate(tables, 1)
    ]
    found = from_csv(to_csv(given))
    assert [(one.setting, one.case, one.wrong) for one in found] == [
        (one.setting, one.case, one.wrong) for one in given
    ]
    assert all((a.samples == b.samples).all() for a, b in zip(found, given, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("seconds", "minutes"), "the first line"),
        (lambda text: text.replace("false", "perhaps"), "line 2"),
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "samples of some rank are missing"),
        (lambda text: text.replace("e-05", "e-05s"), "line 2"),
    ],
)
def test_damaged_csv_is_refused(change: object, message: str) -> None:
    text = to_csv([measurement([20.0, 30.0])])
    with pytest.raises(InputError, match=message):
        from_csv(change(text))  # type: ignore[operator]


def test_measurements_survive_the_way_between_processes() -> None:
    one = measurement([1 / 3, math.pi], wrong=None)
    again = Measurement.from_json(one.to_json())
    assert (again.samples == one.samples).all()
    assert (again.case, again.wrong, again.name) == (one.case, None, "shm")
