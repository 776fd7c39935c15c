"""What the training examples share: a byte-level transformer, its text, and a comparison of two ways to train it.

The text is the language reference that comes with Python (`pydoc_data.topics`), half a megabyte.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pydoc_data.topics import topics
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT, WIDTH, HEADS, LAYERS = 64, 96, 4, 3


def text() -> Tensor:
    """The bytes of all topics, in the order of their names."""
    return torch.tensor(list("\n".join(topics[name] for name in sorted(topics)).encode()), dtype=torch.long)


class Block(nn.Module):
    """Causal attention, then two linear layers, each added to what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        parts = self.qkv(self.before(x)).view(rows, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, length, WIDTH))
        return x + self.down(F.gelu(self.up(self.between(x))))


class LanguageModel(nn.Module):
    """The loss of predicting every next byte."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256)

    def forward(self, seen: Tensor) -> Tensor:
        x = self.token(seen[:, :-1]) + self.place.weight
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), seen[:, 1:].flatten())


def model() -> LanguageModel:
    """The same weights on every rank."""
    torch.manual_seed(0)
    return LanguageModel()


def batches(rank: int, size: int = 8) -> Iterator[Tensor]:
    """Random pieces of the text, other ones on every rank."""
    data = text()
    generator = torch.Generator().manual_seed(rank)
    while True:
        starts = torch.randint(0, len(data) - CONTEXT - 1, (size,), generator=generator)
        yield torch.stack([data[start : start + CONTEXT + 1] for start in starts.tolist()])


@dataclass
class Trained:
    """A model in training, with the times of its steps and of its collectives."""

    name: str
    module: nn.Module
    rate: float = 0.2
    losses: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    calls: list[tuple[float, float]] = field(default_factory=list)  # of the step under way: from and to
    keep: bool = False  # the gradients of the last step, in `gradients`
    gradients: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=self.rate, momentum=0.9)

    def step(self, batch: Tensor) -> None:
        """One step; its loss is the mean over ranks."""
        self.calls.clear()
        begin = time.perf_counter()
        self.optimizer.zero_grad()
        loss = self.module(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.steps.append(time.perf_counter() - begin)
        self.busy.append(covered(self.calls))
        self.gradients = [whole(p.grad) for p in self.module.parameters()] if self.keep else []
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        self.losses.append(mean.item() / dist.get_world_size())


def whole(gradient: Any) -> Tensor:
    """A gradient, gathered if it is spread over the ranks."""
    return (gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient).clone()


def covered(intervals: list[tuple[float, float]]) -> float:
    """Seconds within at least one of the intervals."""
    total, reached = 0.0, 0.0
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def train(one: Trained, steps: int) -> None:
    """Train, and tell the loss now and then."""
    for step, batch in zip(range(steps), batches(dist.get_rank()), strict=False):
        one.step(batch)
        if dist.get_rank() == 0 and (step % 20 == 0 or step == steps - 1):
            print(f"step {step}: loss {one.losses[-1]:.4f}, {one.steps[-1] * 1e3:.1f} ms", flush=True)


def compare(ours: Trained, gloo: Trained, steps: int) -> dict[str, float]:
    """Train both on the same batches, step by step in turns; the differences and the times, the slowest rank's."""
    ours.keep = gloo.keep = True
    furthest = 0.0
    for step, batch in zip(range(steps), batches(dist.get_rank()), strict=False):
        for one in (ours, gloo) if step % 2 else (gloo, ours):
            dist.barrier()
            one.step(batch)
        scale = max(float(gradient.abs().max()) for gradient in gloo.gradients)
        pairs = zip(ours.gradients, gloo.gradients, strict=True)
        furthest = max(furthest, max(float((a - b).abs().max()) for a, b in pairs) / scale)
    skipped = min(5, steps // 2)  # connections, buckets and caches
    mine = [statistics.median(values[skipped:]) for values in (ours.steps, gloo.steps, ours.busy, gloo.busy)]
    slowest = torch.tensor(mine)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    step_ours, step_gloo, busy_ours, busy_gloo = slowest.tolist()
    return {
        "steps": steps,
        "ranks": dist.get_world_size(),
        "gradients_furthest": furthest,
        "loss_first": ours.losses[0],
        "loss_last": ours.losses[-1],
        "loss_difference": max(abs(a - b) / b for a, b in zip(ours.losses, gloo.losses, strict=True)),
        "step_seconds": step_ours,
        "step_seconds_gloo": step_gloo,
        "step_ratio": step_gloo / step_ours,
        "communication_seconds": busy_ours,
        "communication_seconds_gloo": busy_gloo,
    }


def report(result: dict[str, float], as_json: bool) -> int:
    """Print what `compare` found, on rank 0; 1 if the two differ by more than rounding explains."""
    if dist.get_rank() == 0:
        print(json.dumps(result) if as_json else "\n".join(f"{key:28} {value:.6g}" for key, value in result.items()))
    return 0 if result["loss_difference"] < 1e-3 and result["gradients_furthest"] < 1e-2 else 1


def run(options: argparse.Namespace, ours: Trained, other: Callable[[], Trained]) -> int:
    """What the command line asks for, to the end; `other` makes what to compare with. The exit code."""
    code = 0
    if options.compare:
        code = report(compare(ours, other(), options.steps), options.json)
    else:
        train(ours, options.steps)
    dist.barrier()  # rank 0 may serve the store of the job: it ends last
    return code


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--topology", help="a topology or plan file, or a bundled topology; else one machine's memory")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--compare", action="store_true", help="train beside gloo, and compare gradients and times")
    parser.add_argument("--compress", choices=["bf16"], help="of the gradients of DDP")
    parser.add_argument("--json", action="store_true", help="one object with what --compare found")
    return parser.parse_args()


def timed(calls: list[tuple[float, float]], hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook of DDP that notes when each bucket was handed over and when it was done."""

    def noting(state, bucket):  # DDP takes only its own types as annotations
        begin = time.perf_counter()

        def done(future: Any) -> Any:
            calls.append((begin, time.perf_counter()))
            return future.value()

        return hook(state, bucket).then(done)

    return noting
