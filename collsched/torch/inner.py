"""torch's own group beside ours, for what plans do not cover."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


def inner_group(outer: Any, store: Any, rank: int, size: int, timeout: timedelta) -> Any:
    """A group of gloo, and of NCCL where there are GPUs, for what plans do not cover. Its backends serve `outer` too,
    where torch asks a group for them."""
    type_of = dist.ProcessGroup.BackendType
    store = dist.PrefixStore("inner", store)
    inner = dist.ProcessGroup(store, rank, size)
    gloo = dist.ProcessGroupGloo(dist.PrefixStore("gloo", store), rank, size, timeout)
    backends = [(torch.device("cpu"), type_of.GLOO, gloo)]
    if torch.cuda.is_available() and dist.is_nccl_available():
        settings = dist.ProcessGroupNCCL.Options()
        settings._timeout = timeout
        nccl = dist.ProcessGroupNCCL(dist.PrefixStore("nccl", store), rank, size, settings)
        backends.append((torch.device("cuda"), type_of.NCCL, nccl))
    for group in (inner, outer):
        group._set_default_backend(backends[-1][1])
        for device, kind, backend in backends:
            group._register_backend(device, kind, backend)
    inner._set_group_name(f"collsched inner {id(inner)}")
    return inner
