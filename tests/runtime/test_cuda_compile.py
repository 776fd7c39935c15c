"""The kernels compile for GPUs that are not here: by nvcc, and by NVRTC as at run time."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from collsched.runtime.dtypes import DTYPES
from collsched.runtime.kernels import SOURCES, options, source

ARCHITECTURES = (80, 90, 100)
CASES = [
    ("float16", "sum"),
    ("bfloat16", "max"),
    ("float32", "sum"),
    ("float64", "min"),
    ("int8", "prod"),
    ("uint64", "avg"),
]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc(architecture: int, tmp_path: Path) -> None:
    dtype, op = CASES[ARCHITECTURES.index(architecture) * 2]
    command = ["nvcc", *options(dtype, op), f"-arch=sm_{architecture}", "-cubin", "-Werror", "all-warnings"]
    target = tmp_path / "kernels.cubin"
    result = subprocess.run([*command, str(SOURCES / "kernels.cu"), "-o", str(target)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert b"collsched_execute" in target.read_bytes()


def nvrtc() -> ctypes.CDLL | None:
    """NVRTC of NVIDIA's wheel (nvidia-cuda-nvrtc)."""
    spec = find_spec("nvidia")
    for place in spec.submodule_search_locations or () if spec else ():
        for file in Path(place).glob("**/libnvrtc.so.*"):
            return ctypes.CDLL(str(file))
    return None


@pytest.mark.skipif(nvrtc() is None, reason="nvidia-cuda-nvrtc is not installed")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc(architecture: int) -> None:
    library = nvrtc()
    assert library is not None
    for dtype, op in CASES[ARCHITECTURES.index(architecture) :: len(ARCHITECTURES)]:
        ptx = compiled(library, [*options(dtype, op), f"-arch=sm_{architecture}"])
        assert b".entry collsched_execute" in ptx and b".entry collsched_jobs" in ptx
        # 16 bytes at once; flags with the orders that the protocol needs; data never past the coherent caches.
        assert b"ld.v4.u32" in ptx or b"ld.v4.b32" in ptx or b"ld.v2.u64" in ptx or b"ld.v2.b64" in ptx
        assert b"ld.acquire.sys.global.u64" in ptx and b"st.release.sys.global.u64" in ptx
        assert b"ld.global.nc" not in ptx


def compiled(library: ctypes.CDLL, arguments: list[str]) -> bytes:
    """The PTX of the kernels, in the one text that the engine compiles."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source().encode(), b"kernels.cu", 0, None, None) == 0
    words = [word.encode() for word in arguments]
    failed = library.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert failed == 0, log.value.decode()
    library.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    library.nvrtcGetPTX(program, ptx)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx.raw


def test_every_type_has_a_kernel() -> None:
    assert len({options(dtype, "sum") for dtype in DTYPES}) == len(DTYPES)
    assert options("float32", "avg") == options("float32", "sum")
