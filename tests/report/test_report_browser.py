"""The page in a real browser, where there is one: it draws without a word on the console."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import collsched
from collsched.files import write_whole
from collsched.report.motion import predicted, simulated
from collsched.report.page import page
from collsched.report.payload import Story, payload
from collsched.topology import resolve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=4000 --dump-dom"
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def _opened(text: str, folder: Path) -> tuple[str, list[str]]:
    """The document after its scripts have run, and what they wrote on the console."""
    target = folder / "page.html"
    write_whole(target, [text])
    command = [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", target.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_plan_is_drawn(tmp_path: Path) -> None:
    plan = collsched.compile(resolve("dgx-a100", {}), "allreduce")
    story = Story(plan, 1 << 20, simulated(plan, 1 << 20, 1), "allreduce")
    document, console = _opened(page(payload(plan.topology, story)), tmp_path)
    assert not console and 'data-ready="yes"' in document
    assert '<h1 id="title">allreduce on dgx-a100</h1>' in document and "16 ranks · 2 hosts" in document
    assert len(re.findall(r'<option value="\d+"', document)) > 16 and "aria-expanded" in document


def test_a_thousand_ranks_are_drawn(tmp_path: Path) -> None:
    plan = collsched.compile(resolve("torus-2d", {"dims": "32x32"}), "broadcast", trees_per_root=1)
    story = Story(plan, 1 << 28, predicted(plan, 1 << 28), "broadcast")
    document, console = _opened(page(payload(plan.topology, story)), tmp_path)
    assert not console and 'data-ready="yes"' in document and "1,024 ranks · grid of 32 × 32" in document
