from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test leaves the processes, descriptors and shared memory names that it found."""
    from ranks import children

    def found() -> tuple[object, ...]:
        descriptors = {fd.name for fd in Path("/proc/self/fd").iterdir()}
        return children(), len(descriptors), {file.name for file in Path("/dev/shm").glob("*collsched*")}

    before = found()
    yield
    assert found() == before
