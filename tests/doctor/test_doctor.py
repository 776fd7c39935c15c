"""`collsched doctor`: what it finds is what is there, and what does not work has a reason."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest

from collsched import doctor
from collsched.cli.main import main
from collsched.errors import EngineError
from collsched.runtime import ENGINES

components = importlib.import_module("collsched.doctor.components")  # the package has a function of this name
engines = importlib.import_module("collsched.doctor.engines")


def test_versions_are_those_of_the_packages() -> None:
    found = {component.name: component for component in doctor.components()}
    assert found["numpy"].version == np.__version__
    assert found["python"].version == ".".join(map(str, sys.version_info[:3]))
    for name in ("torch", "mpi4py"):
        try:
            expected = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            assert found[name].version is None and "pip install" in found[name].remark
        else:
            assert expected in (found[name].version or "")


def test_a_program_that_fails_or_is_missing_has_no_version() -> None:
    assert components._first_line([sys.executable, "-c", "print('one'); print('two')"]) == "one"
    assert components._first_line([sys.executable, "-c", "raise SystemExit(1)"]) is None
    assert components._first_line(["/nonexistent/program"]) is None


def test_every_engine_works_or_has_a_reason() -> None:
    states = doctor.engine_states()
    assert [state.name for state in states] == list(ENGINES)
    assert all(state.reason for state in states)
    assert states[0].works and "sums right" in states[0].reason


def test_the_self_test_finds_wrong_sums_and_silence() -> None:
    with pytest.raises(EngineError, match="wrong sums"):
        engines._run([sys.executable, "-c", "raise AssertionError('wrong sums')"])
    with pytest.raises(EngineError, match="it said nothing"):
        engines._run([sys.executable, "-c", ""])
    assert "right" in engines._run([sys.executable, "-c", "print('right')"])


def test_an_engine_that_does_not_work_is_an_exit_code_of_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(name: str) -> str:
        raise EngineError("no shared memory")

    monkeypatch.setattr(engines, "_test_shm", broken)
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 1 and told["works"] is False
    assert told["engines"][0] == {"name": "shm", "works": False, "reason": "no shared memory"}


def test_as_a_launched_program_it_checks_every_pair() -> None:
    me = [sys.executable, "-m", "collsched.cli.main"]
    done = subprocess.run(
        [*me, "launch", "-n", "3", "--", *me, "doctor", "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["engine"] == "shm" and [pair["ranks"] for pair in told["pairs"]] == [[0, 1], [0, 2], [1, 2]]
    assert all(pair["latency_seconds"] > 0 and pair["GBps"] > 0 for pair in told["pairs"])
