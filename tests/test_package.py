"""The package's front: exactly the names it promises, loaded when used."""

import subprocess
import sys

import pytest

import collsched


def test_every_promised_name_loads() -> None:
    assert sorted(collsched.__all__) == collsched.__all__ or set(collsched.__all__) == set(dir(collsched))
    for name in collsched.__all__:
        assert getattr(collsched, name) is not None


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = collsched.frobnicate


def test_import_is_light() -> None:
    code = "import sys, collsched; assert 'numpy' not in sys.modules and 'click' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["collsched.forest.check", "collsched.ir.verify"])
def test_verifiers_load_no_native_code(module: str) -> None:
    code = f"import sys, {module}; assert not [m for m in sys.modules if m in ('collsched._core', 'collsched._engine')]"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
