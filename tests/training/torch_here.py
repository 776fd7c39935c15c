"""Why torch cannot be used here; None if it can."""

from __future__ import annotations

try:
    import torch.distributed as dist

    missing = None if dist.is_available() and dist.is_gloo_available() else "this torch has no gloo"
except ImportError as error:
    missing = f"torch cannot be imported ({error})"
