"""What happens without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch_here import missing


def test_torch_is_here_for_the_other_tests() -> None:
    if missing is not None:
        pytest.skip(f"{missing}: the tests of collsched.torch are left out")
    from torch import __version__

    assert tuple(map(int, __version__.split(".")[:2])) >= (2, 12)  # as the extra says


def test_without_torch_the_import_says_what_to_install() -> None:
    program = """
import sys
sys.modules["torch"] = None
try:
    import collsched.torch
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("MissingComponentError torch cannot be imported") and "pip install" in done.stdout
