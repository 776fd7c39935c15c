from __future__ import annotations

from pathlib import Path

import pytest

from collsched.errors import InputError
from collsched.files import write_whole


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    write_whole(target, ["one"])
    write_whole(target, ["t", "wo"])
    assert target.read_text() == "two" and list(tmp_path.iterdir()) == [target]
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "none" / "page.html", ["x"])
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(target, ["x", "\ud800"])
    assert target.read_text() == "two" and list(tmp_path.iterdir()) == [target]
