"""A small model and its gradients, for comparisons of training on several ranks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor
WIDTH = 48


def model() -> nn.Sequential:
    """Layers of odd sizes, alike on every rank."""
    torch.manual_seed(0)
    sizes = [WIDTH, 129, 67, 101, 7]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers)


def batch(rank: int, step: int) -> Tensor:
    return torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(1000 * step + rank))


def train(module: nn.Module, rank: int, steps: int, gradients: Callable[[Any], Tensor]) -> list[tuple[float, Tensor]]:
    """Loss and gradients of every step of SGD with momentum."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = module(batch(rank, step)).square().mean()
        loss.backward()
        found.append((loss.item(), torch.cat([gradients(p).reshape(-1) for p in module.parameters()])))
        optimizer.step()
    return found


def furthest(ours: list[tuple[float, Tensor]], others: list[tuple[float, Tensor]]) -> tuple[float, float]:
    """The largest difference of gradients, relative to the largest of their step, and of losses, relative."""
    gradients = max(float((a - b).abs().max() / b.abs().max()) for (_, a), (_, b) in zip(ours, others, strict=True))
    losses = max(abs(a - b) / abs(b) for (a, _), (b, _) in zip(ours, others, strict=True))
    return gradients, losses
