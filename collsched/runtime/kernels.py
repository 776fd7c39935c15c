"""The kernels of csrc/cuda, compiled at run time for the GPU at hand, one element type and reduction at a time."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from collsched.errors import EngineError
from collsched.runtime.dtypes import DTYPES

FOLD = {"sum": "sum", "avg": "sum", "prod": "prod", "min": "min", "max": "max"}
THREADS = 512  # COLLSCHED_THREADS of kernels.cu
_TYPES = ("Half", "Bfloat", "float", "double", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
_LEAST_CAPABILITY = 80  # for bfloat16 and reductions across a warp


def _sources() -> Path:
    """Where the files are: installed package data, or the source tree that an editable install points to."""
    package = Path(__file__).parents[1]
    installed = package / "kernels"
    return installed if installed.is_dir() else package.parent / "csrc" / "cuda"


SOURCES = _sources()


def options(dtype: str, op: str) -> tuple[str, ...]:
    """What the compiler is told. Products and sums stay apart (no FMA), as in the interpreter."""
    return (
        "-std=c++17", "-fmad=false", f"-DCOLLSCHED_TYPE={_TYPES[DTYPES.index(dtype)]}", f"-DCOLLSCHED_OP={FOLD[op]}",
    )  # fmt: skip


def source(name: str = "kernels.cu") -> str:
    """The kernels as one text, for a compiler that reads no files, and a cache that knows this text alone."""
    seen: set[str] = set()

    def included(match: re.Match[str]) -> str:
        if match[1] in seen:
            return ""
        seen.add(match[1])
        return expanded(match[1])

    def expanded(file: str) -> str:
        text = (SOURCES / file).read_text(encoding="utf-8").replace("#pragma once\n", "")
        return re.sub(r'^#include "(\w+\.h)"\n', included, text, flags=re.MULTILINE)

    return expanded(name)


@lru_cache(256)
def kernel(cupy: Any, device: int, name: str, dtype: str, op: str) -> Any:
    """The kernel of that name on a device. cupy keeps what it compiled in a directory of the user's.

    Raises EngineError where the GPU is too old or the compiler fails.
    """
    capability = int(cupy.cuda.Device(device).compute_capability)
    if capability < _LEAST_CAPABILITY:
        raise EngineError(
            f"GPU {device} has compute capability {capability / 10}; the kernels need {_LEAST_CAPABILITY / 10}"
        )
    try:
        with cupy.cuda.Device(device):
            return cupy.RawModule(code=source(), options=options(dtype, op), backend="nvrtc").get_function(name)
    except cupy.cuda.compiler.CompileException as error:
        raise EngineError(f"the kernel for {dtype} and {op} does not compile: {error}") from None
