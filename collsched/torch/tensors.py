"""torch's tensors and reductions in the engines' terms: flat, contiguous, of an element type that engines have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from collsched.runtime.dtypes import DTYPES

_OPS = (
    (dist.ReduceOp.SUM, "sum"),
    (dist.ReduceOp.PRODUCT, "prod"),
    (dist.ReduceOp.MIN, "min"),
    (dist.ReduceOp.MAX, "max"),
    (dist.ReduceOp.AVG, "avg"),
)
_KNOWN = frozenset(getattr(torch, name) for name in DTYPES if hasattr(torch, name))


def reduction(op: Any) -> str | None:
    """The engines' name of a ReduceOp; None for those that they do not have (bits, products with a factor)."""
    return next((name for known, name in _OPS if op == known), None)


def movable(tensor: Tensor) -> bool:
    """Whether the bytes of a tensor are its value."""
    return tensor.layout == torch.strided and not tensor.is_conj() and not tensor.is_neg()


def reducible(tensor: Tensor, op: str | None) -> bool:
    """Whether engines reduce tensors like this one by `op`."""
    if op is None or not movable(tensor):
        return False
    return tensor.dtype in _KNOWN or (tensor.is_complex() and op in ("sum", "avg"))


def elements(tensor: Tensor) -> Tensor:
    """A contiguous tensor as a flat one of an engine's element type, over the same memory: complex numbers as pairs,
    other foreign types as bytes."""
    flat = tensor.detach().view(-1)
    if flat.dtype in _KNOWN:
        return flat
    if flat.is_complex():
        return torch.view_as_real(flat).view(-1)
    return flat.view(torch.uint8)


def contiguous(tensor: Tensor) -> Tensor:
    """The tensor, or a contiguous copy."""
    return tensor.detach().contiguous()


def joined(tensors: Sequence[Tensor]) -> Tensor | None:
    """One flat tensor over the memory of several of one size that lie one after the other, as views of one buffer do;
    None if they do not."""
    first = tensors[0].detach()
    if not all(tensor.is_contiguous() and tensor.dtype == first.dtype for tensor in tensors):
        return None
    step = first.nbytes
    storage = first.untyped_storage().data_ptr()
    if any(tensor.nbytes != step or tensor.untyped_storage().data_ptr() != storage for tensor in tensors):
        return None
    if any(one.data_ptr() + step != other.data_ptr() for one, other in pairwise(tensors)):
        return None
    return first.as_strided((first.numel() * len(tensors),), (1,))


def alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors have one number of elements, one type, one device."""
    first = tensors[0]
    return all(
        tensor.numel() == first.numel() and tensor.dtype == first.dtype and tensor.device == first.device
        for tensor in tensors
    )


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """The elements of tensors of one size one after the other: their own memory, or a copy."""
    whole = joined(tensors)
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]) if whole is None else whole


def room(tensors: Sequence[Tensor]) -> Tensor:
    """Flat memory for all of them one after the other: their own, or new."""
    whole = joined(tensors)
    if whole is not None:
        return whole
    first = tensors[0]
    return torch.empty(first.numel() * len(tensors), dtype=first.dtype, device=first.device)


def spread(whole: Tensor, tensors: Sequence[Tensor]) -> None:
    """Write the parts of what `room` gave into the tensors, unless they are its own."""
    if not whole.numel() or whole.data_ptr() == tensors[0].data_ptr():
        return
    for part, tensor in zip(whole.view(len(tensors), -1), tensors, strict=True):
        tensor.detach().copy_(part.view(tensor.shape))


def in_place(tensor: Tensor, call: Callable[[Tensor], None]) -> None:
    """`call` with the tensor's elements, contiguous; what it writes ends up in the tensor."""
    whole = contiguous(tensor)
    call(elements(whole))
    if whole.data_ptr() != tensor.data_ptr():
        tensor.detach().copy_(whole)


def into(tensor: Tensor, call: Callable[[Tensor], None]) -> None:
    """`call` with contiguous room for the tensor; what it writes ends up in the tensor."""
    if tensor.is_contiguous():
        call(tensor)
        return
    whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    call(whole)
    tensor.detach().copy_(whole)


def is_shard(shard: Tensor, whole: Tensor, ranks: int) -> bool:
    """Whether a tensor is one rank's part of another."""
    return bool(whole.numel() == shard.numel() * ranks and whole.dtype == shard.dtype)


def even_parts(sizes: Sequence[int], tensor: Tensor, ranks: int) -> bool:
    """Whether parts along the first dimension (none given: equal ones) are of one size."""
    rows = tensor.shape[0] if tensor.dim() else 0
    return bool(rows % ranks == 0 and all(size == rows // ranks for size in sizes))
