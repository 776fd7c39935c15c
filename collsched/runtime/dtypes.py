"""Element types and reductions that the engines know, and bfloat16, which numpy does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import InputError

# Positions are the codes of csrc/engine/kernels.h.
DTYPES = (
    "float16", "bfloat16", "float32", "float64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
OPS = ("sum", "prod", "min", "max", "avg")


def dtype_code(name: str) -> int:
    """The engine's number of an element type. Raises InputError for a type that it does not have."""
    if name not in DTYPES:
        raise InputError(f"element type {name!r}; the engine has {', '.join(DTYPES)}")
    return DTYPES.index(name)


def op_code(name: str) -> int:
    """The engine's number of a reduction. Raises InputError for one that it does not have."""
    if name not in OPS:
        raise InputError(f"reduction {name!r}; choose {', '.join(OPS)}")
    return OPS.index(name)


def carrier(dtype: str) -> np.dtype[Any]:
    """The numpy type that holds elements of `dtype`: bfloat16 travels as its bits in uint16."""
    return np.dtype(np.uint16 if dtype == "bfloat16" else dtype)


def is_float(dtype: str) -> bool:
    return "float" in dtype


def unit_roundoff(dtype: str) -> float:
    """Half the distance from 1 to the next number: the relative error of one operation rounded to nearest."""
    return 2.0**-8 if dtype == "bfloat16" else float(np.finfo(dtype).eps) / 2


def encode(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers as elements of `dtype`, in its carrier type, rounded to nearest even. Finite values only."""
    if dtype != "bfloat16":
        return values.astype(dtype)
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((raw + 0x7FFF + ((raw >> 16) & 1)) >> 16).astype(np.uint16)


def decode(elements: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The inverse of `encode`, exactly: bfloat16 bits to float32; every other type as it is."""
    if dtype != "bfloat16":
        return elements
    return (elements.astype(np.uint32) << 16).view(np.float32)
