from __future__ import annotations

import ctypes
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


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The source of the GPU kernels, as ordinary C++."""
    from cuda_host import build

    return ctypes.CDLL(str(build(tmp_path_factory.mktemp("cuda") / "host.so")))
