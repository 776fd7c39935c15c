"""Flows, the paths they may take, and what was chosen. Flat arrays: an all-to-all of 1,024 ranks has a million
flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Flows:
    """Flow f sends bytes[f] from rank src[f] to rank dst[f] (rank numbers). All of them start together."""

    src: I32
    dst: I32
    bytes: I64

    def __len__(self) -> int:
        return len(self.bytes)

    def take(self, chosen: NDArray[Any]) -> Flows:
        """The flows at these positions."""
        return Flows(self.src[chosen], self.dst[chosen], self.bytes[chosen])


@dataclass(frozen=True, slots=True)
class Phase:
    """Flows that are on the wire together; phases follow one another."""

    name: str
    flows: Flows


@dataclass(frozen=True, slots=True)
class PathTable:
    """The paths that flows may take, without their end points.

    Flow f may take the paths begin[pair[f]] … begin[pair[f] + 1]. Path p runs from the source through the switches
    nodes[node_ptr[p]:node_ptr[p + 1]] (node ids, none where the ranks are linked directly) to the destination.
    `chance[p]` is the probability that a hash at every hop leads a flow of that pair over p.
    """

    pair: I32  # [flows]
    begin: I64  # [pairs + 1]
    node_ptr: I64  # [paths + 1]
    nodes: I32
    chance: F64  # [paths]

    def interior(self, path: int) -> tuple[int, ...]:
        """The switches of a path."""
        return tuple(self.nodes[self.node_ptr[path] : self.node_ptr[path + 1]].tolist())


@dataclass(frozen=True, slots=True)
class Subflows:
    """Subflow i is the part [offset[i], offset[i] + bytes[i]) of flow[i] and takes path[i] of a PathTable."""

    flow: I64
    offset: I64
    bytes: I64
    path: I64

    def __len__(self) -> int:
        return len(self.bytes)

    def take(self, chosen: NDArray[Any]) -> Subflows:
        """The subflows at these positions."""
        return Subflows(self.flow[chosen], self.offset[chosen], self.bytes[chosen], self.path[chosen])

    def in_order(self) -> Subflows:
        """The same, sorted by flow and offset."""
        return self.take(np.lexsort((self.bytes, self.offset, self.flow)))


def whole(flows: Flows, path: I64) -> Subflows:
    """Every flow whole on one path."""
    count = len(flows)
    return Subflows(np.arange(count), np.zeros(count, np.int64), flows.bytes.copy(), path.astype(np.int64))


def join(parts: list[Subflows]) -> Subflows:
    """Several lists of subflows as one."""
    return Subflows(
        np.concatenate([part.flow for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.bytes for part in parts]),
        np.concatenate([part.path for part in parts]),
    )
