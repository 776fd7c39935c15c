"""`collsched topology`: list and show."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from collsched.cli.topology import topology_group
from collsched.errors import InputError
from collsched.topology import bundled, bundled_names, load_topology


def run(*arguments: str) -> str:
    result = CliRunner().invoke(topology_group, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_list_names_everything():
    shown = run("list")
    assert all(name in shown for name in bundled_names())
    assert "boxes=2" in shown and "--set boxes=4" in shown


def test_list_as_json():
    found = {entry["name"]: entry for entry in json.loads(run("list", "--json"))["topologies"]}
    assert sorted(found) == list(bundled_names())
    assert found["mi250"]["ranks"] == 16
    assert found["mi250"]["parameters"][1] == {
        "name": "nic",
        "kind": "bandwidth",
        "default": "16 GB/s",
        "min": None,
        "max": None,
        "about": "network bandwidth of a GCD in each direction",
    }


def test_show_prints_the_explicit_form(tmp_path):
    path = tmp_path / "shown.yaml"
    path.write_text(run("show", "dgx-a100", "--set", "boxes=3"))
    assert load_topology(path) == bundled("dgx-a100", boxes=3)
    assert run("show", str(path)) == path.read_text()


def test_show_as_json():
    found = json.loads(run("show", "torus-2d", "--json"))
    assert (found["name"], found["ranks"], len(found["links"])) == ("torus-2d", 16, 64)
    assert found["links"][0] == {"src": "rank0", "dst": "rank4", "bandwidth": "50", "latency": "1"}


@pytest.mark.parametrize("setting", ["boxes", "=4", "boxes=", "boxes=0", "hosts=4"])
def test_bad_settings(setting):
    with pytest.raises(InputError):
        run("show", "dgx-a100", "--set", setting)
