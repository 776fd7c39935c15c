"""Train a small language model with DistributedDataParallel, its gradients averaged by a compiled plan.

collsched launch -n 4 -- python examples/train_ddp.py
torchrun --nproc-per-node 4 examples/train_ddp.py --compare
mpirun -n 4 python examples/train_ddp.py --topology topo.yaml
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from language_model import Trained, arguments, model, run, timed
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

import collsched.torch


def main() -> int:
    options = arguments("DDP with gradients by a plan")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="collsched://")

    ddp = DistributedDataParallel(model(), bucket_cap_mb=0.3)
    ours = Trained("collsched", ddp)
    state = collsched.torch.state(options.topology, compress=options.compress)
    ddp.register_comm_hook(state, timed(ours.calls, collsched.torch.allreduce_hook))

    def by_gloo() -> Trained:
        plain = DistributedDataParallel(model(), bucket_cap_mb=0.3)
        gloo = Trained("gloo", plain)
        plain.register_comm_hook(None, timed(gloo.calls, default_hooks.allreduce_hook))
        return gloo

    code = run(options, ours, by_gloo)
    state.close()
    dist.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main())
