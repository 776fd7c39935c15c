"""Fixtures that all tests share: goldens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parent / "goldens"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the tests produce as the new goldens")


class Golden:
    """Compares text with files under tests/goldens."""

    def __init__(self, default: str, update: bool) -> None:
        self.default = default
        self.update = update
        self.checked = 0

    def check(self, text: str, name: str | None = None) -> None:
        """Fails with a diff unless `text` equals the golden `name`; a name made from the test is the default."""
        self.checked += 1
        path = GOLDENS / f"{name or self.default}.txt"
        if not text.endswith("\n"):
            text += "\n"
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        if not path.exists():
            pytest.fail(f"no golden {path.name}; run pytest --update-golden and read it", pytrace=False)
        expected = path.read_text(encoding="utf-8")
        if text != expected:
            lines = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), f"goldens/{path.name}", "this run", lineterm=""
            )
            pytest.fail("\n".join(lines) + "\nrun pytest --update-golden if this is right", pytrace=False)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Iterator[Golden]:
    """`golden.check(text)`, or `golden.check(text, name)` where one test has several."""
    default = re.sub(r"[^\w.-]+", "-", request.node.name.removeprefix("test_")).strip("-")
    fixture = Golden(default, request.config.getoption("--update-golden"))
    yield fixture
    assert fixture.checked, "the test asked for a golden and checked nothing"
