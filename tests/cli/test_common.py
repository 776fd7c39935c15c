"""What the verbs share: progress, rows, names of files."""

import time
from fractions import Fraction

import pytest

from collsched.cli import _common as common
from collsched.cli import _views as views
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology


def test_progress_speaks_once_a_stage_takes_long(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.Progress, "PATIENCE", 0.05)
    with common.progress() as progress:
        for stage in ("packing", "verification"):
            progress(stage)
            time.sleep(0.4)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "packing …\nverification …\n"


def test_progress_is_silent_where_nothing_takes_long(capsys) -> None:
    with common.progress() as progress:
        progress("packing")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dgx-a100", "dgx-a100-allgather.cs"),
        ("two boxes/α", "two-boxes-α-allgather.cs"),
        ("..", "topology-allgather.cs"),
    ],
)
def test_default_file_names_stay_in_the_directory(name: str, expected: str) -> None:
    assert str(common.default_output(Topology(name, (), ()), "allgather", ".cs")) == expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(1, 1, "100 %"), (999999, 1000000, "99.99 %"), (1, 3, "33.33 %"), (4, 3, "133.33 %")],
)
def test_a_share_is_never_rounded_up_to_all(part: int, whole: int, expected: str) -> None:
    assert views.share(Fraction(part), Fraction(whole)) == expected


def test_kinds_of_links() -> None:
    assert views.link_classes(bundled("dgx-a100", boxes=2)) == [
        "16 × gpu ↔ ib 25 GB/s",
        "16 × gpu ↔ nvswitch 300 GB/s",
    ]
    nodes = (Node("a0", "rank"), Node("a1", "rank"), Node("b", "switch"))
    one_way = (Link(0, 1, Fraction(5)), Link(0, 2, Fraction(5)), Link(2, 0, Fraction(7)))
    assert sorted(views.link_classes(Topology("odd", nodes, one_way))) == [
        "1 × a → a 5 GB/s",
        "1 × a → b 5 GB/s",
        "1 × b → a 7 GB/s",
    ]


def test_long_lists_of_names_are_cut_short() -> None:
    fabric = Topology("odd", tuple(Node(f"{chr(97 + i)}x", "rank") for i in range(12)), ())
    text = views.members(fabric, range(12))
    assert text.startswith("ax, bx,") and text.endswith("and 4 more (all of them with --json)")
