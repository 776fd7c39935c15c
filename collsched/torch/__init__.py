"""Plans in a training job with torch.

    state(source)                       DDP: ddp.register_comm_hook(state(topology), allreduce_hook)
    use(state, module)                  FSDP2: all-gather and reduce-scatter of a module that fully_shard has seen
    init_process_group("collsched")     the whole process group, once this module is imported

Importing it registers the backend "collsched" and `init_method="collsched://"` with torch. Raises MissingComponentError
without torch.
"""

from __future__ import annotations

from collsched.errors import MissingComponentError

try:
    import torch.distributed as _dist
except ImportError as _error:
    raise MissingComponentError(f"torch cannot be imported ({_error}): pip install torch") from None
if not _dist.is_available():
    raise MissingComponentError("this torch was built without torch.distributed; install another build")

from collsched.torch.backend import create as _create
from collsched.torch.fsdp import AllGather, ReduceScatter, use
from collsched.torch.hooks import State, allreduce_hook, state
from collsched.torch.options import Options
from collsched.torch.process_group import CollschedProcessGroup
from collsched.torch.rendezvous import rendezvous as _rendezvous

__all__ = [
    "AllGather",
    "CollschedProcessGroup",
    "Options",
    "ReduceScatter",
    "State",
    "allreduce_hook",
    "state",
    "use",
]

_DEVICES = ["cpu", "cuda"]

_dist.Backend.register_backend("collsched", _create, extended_api=True, devices=_DEVICES)
_dist.register_rendezvous_handler("collsched", _rendezvous)
