"""`collsched export` to runtimes: options, refusals, files that appear whole or not at all."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from collsched.cli import _runtimes
from collsched.cli.main import main
from collsched.plan import Plan

FORMATS = ("msccl-xml", "mscclpp-json", "chakra")


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plans")
    for name, options in {
        "box": ["dgx-a100", "-c", "allreduce", "--set", "boxes=1"],
        "boxes": ["dgx-a100", "-c", "allgather"],
        "gather": ["dgx-a100", "-c", "gather", "--set", "boxes=1"],
        "one": ["dgx-a100", "-c", "allreduce", "--set", "boxes=1", "--group", "3"],
        "mesh": ["mi250", "-c", "allgather", "--trees-per-root", "1"],
    }.items():
        run(["compile", *options, "-o", str(directory / f"{name}.cs")])
    return directory


def run(arguments: list[str], code: int = 0) -> str:
    """Standard output, and the error message after it."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == code, out.getvalue() + err.getvalue()
    return out.getvalue() + (err.getvalue() if code else "")


def test_defaults_and_json(plans: Path) -> None:
    """Files are named after the plan; what a caller must know of sizes is told."""
    plan = str(plans / "boxes.cs")
    xml = json.loads(run(["export", plan, "--to", "msccl-xml", "--json", "--force"]))
    assert xml["files"] == [str(plans / "boxes.xml")] and xml["verified"] and xml["profile"] == "executor"
    assert (xml["units"], xml["count_multiple"], xml["segments"], xml["in_place"]) == (208, 208, 1, False)
    assert (plans / "boxes.xml").read_text().startswith('<algo name="allgather-dgx-a100" proto="Simple"')
    plan_json = json.loads(run(["export", plan, "--to", "mscclpp-json", "--json", "--force", "--segments", "1"]))
    assert plan_json["files"] == [str(plans / "boxes.json")] and plan_json["byte_multiple"] == 208 * 16
    assert json.loads((plans / "boxes.json").read_text())["collective"] == "allgather"
    traces = json.loads(run(["export", plan, "--to", "chakra", "--json", "--force", "--segments", "1"]))
    assert len(traces["files"]) == 16 and traces["files"][3] == str(plans / "boxes-chakra" / "trace.3.et")


def test_segments_are_as_many_as_fit(plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan would have more; fewer fit the executor, and the number that is asked for is the one that is taken."""
    monkeypatch.setattr(_runtimes, "MOST_MOVES", 2000)
    plan = str(plans / "mesh.cs")
    chosen = json.loads(run(["export", plan, "--to", "mscclpp-json", "--json", "--force"]))
    assert 1 < chosen["segments"] <= Plan.load(plan).segments and chosen["operations"] <= 64
    one = json.loads(run(["export", plan, "--to", "mscclpp-json", "--json", "--force", "--segments", "1"]))
    assert one["segments"] == 1 and one["units"] * chosen["segments"] == chosen["units"]


def test_options_reach_the_file(plans: Path) -> None:
    plan, out = str(plans / "box.cs"), str(plans / "chosen.xml")
    options = ["--in-place", "--protocol", "LL128", "--channels", "2", "--segments", "4", "--bytes", "1KiB:1MiB"]
    shown = run(["export", plan, "--to", "msccl-xml", "-o", out, "--name", "mine", *options, "--profile", "rccl"])
    assert "in place, read back and verified" in shown and "2 channels" in shown
    head = Path(out).read_text().split("\n")[0]
    for word in (
        'name="mine"',
        'proto="LL128"',
        'nchannels="2"',
        'inplace="1"',
        'minBytes="1024"',
        'maxBytes="1048576"',
    ):
        assert word in head
    plan_out = str(plans / "chosen.json")
    run(
        [
            "export",
            plan,
            "--to",
            "mscclpp-json",
            "-o",
            plan_out,
            "--blocks",
            "2",
            "--segments",
            "1",
            "--bytes",
            "1KB:2KB",
        ]
    )
    written = json.loads(Path(plan_out).read_text())
    assert (written["min_message_size"], written["max_message_size"]) == (1000, 2000)


@pytest.mark.parametrize("target", FORMATS)
def test_one_rank(plans: Path, target: str) -> None:
    out = plans / f"one-{target}"
    run(["export", str(plans / "one.cs"), "--to", target, "-o", str(out)])
    assert all(file.stat().st_size > 0 for file in ([*out.iterdir()] if out.is_dir() else [out]))
    assert not out.is_dir() or any(out.iterdir())


@pytest.mark.parametrize("target", FORMATS)
def test_existing_files_stay(plans: Path, target: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["export", str(plans / "box.cs"), "--to", target, "-o", str(out), "--segments", "1"]
    run(arguments)
    assert "exists; choose another" in run(arguments, 2)
    run([*arguments, "--force"])
    out_of_reach = tmp_path / "file"
    out_of_reach.write_text("mine")
    assert "cannot be written" in run([*arguments[:5], str(out_of_reach / "below"), "--segments", "1"], 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--to", "chakra", "--profile", "rccl"],
            "--profile is not for chakra; leave it out, or choose --to msccl-xml",
        ),
        (["--to", "transfers", "--in-place"], "--in-place is not for transfers"),
        (["--to", "msccl-xml", "--bytes", "1MiB"], "expected MIN:MAX, such as 1MiB:1GiB"),
        (["--to", "msccl-xml", "--bytes", "2MiB:1MiB"], "the smallest size comes first"),
        (["--to", "msccl-xml", "--name", "a b"], "1 to 63 letters"),
        (["--to", "mscclpp-json", "--segments", "0"], "--segments 0"),
        (
            ["--to", "msccl-xml", "--segments", "20", "--channels", "40"],
            "“channels”: the algorithm has 40, at most 32 are",
        ),
    ],
)
def test_refusals(plans: Path, arguments: list[str], message: str, tmp_path: Path) -> None:
    """Exit code 2, the reason, and no file."""
    assert message in run(["export", str(plans / "box.cs"), *arguments, "-o", str(tmp_path / "out")], 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["msccl-xml", "mscclpp-json"])
def test_collectives_that_runtimes_do_not_call(plans: Path, target: str, tmp_path: Path) -> None:
    message = run(["export", str(plans / "gather.cs"), "--to", target, "-o", str(tmp_path / "out")], 2)
    assert "gather: GPU runtimes do not call it; choose allreduce" in message
