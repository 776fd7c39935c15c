"""Every source for itself, for comparison ("Challenging the Need for Packet Spraying in Large-Scale Distributed
Training",
arXiv 2407.00550): of n equal flows from one rank to one leaf over s paths, n − r go whole, r = n mod s, and each of the
last r is cut into s / gcd(r, s) equal parts. Only paths of the full width are used.
"""

from __future__ import annotations

from itertools import pairwise
from math import gcd

import numpy as np

from collsched.routes.bounds import widths
from collsched.routes.model import I64, Subflows
from collsched.routes.network import Network


def per_source(network: Network) -> Subflows:
    """The routing that sources make without knowing of each other."""
    flows, pair = network.flows, network.paths.pair
    order = np.lexsort((flows.bytes, pair, flows.src))
    keys = np.stack([flows.src[order], pair[order], flows.bytes[order]])
    change = np.ones(len(order), bool)
    change[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    begins = np.flatnonzero(change).tolist()
    wide = _wide_paths(network)
    parts: list[tuple[I64, I64, I64]] = []
    for low, high in zip(begins, [*begins[1:], len(order)], strict=True):
        group = order[low:high]
        parts.append(_deal(group, wide[pair[group[0]]], int(flows.bytes[group[0]])))
    flow, number, path = (np.concatenate([part[column] for part in parts]) for column in range(3))
    return _cut(network, flow, number, path)


def _wide_paths(network: Network) -> list[I64]:
    """The widest paths of each pair."""
    width, begin = widths(network), network.paths.begin.tolist()
    found = []
    for low, high in pairwise(begin):
        here = width[low:high]
        found.append(low + np.flatnonzero(here >= here.max() * (1 - 1e-12)))
    return found


def _deal(group: I64, paths: I64, size: int) -> tuple[I64, I64, I64]:
    """(flow, number of the piece within it, path) of equal flows of one source to one group."""
    count, spread = len(group), len(paths)
    rest = count % spread if size else 0
    cut = spread // gcd(rest, spread) if rest else 1
    cut = min(cut, max(size, 1))  # a piece has a byte at least
    whole_flows, last = group[: count - rest], group[count - rest :]
    flow = np.concatenate([whole_flows, np.repeat(last, cut)])
    number = np.concatenate([np.zeros(len(whole_flows), np.int64), np.tile(np.arange(cut), rest)])
    return flow, number, paths[np.arange(len(flow)) % spread]


def _cut(network: Network, flow: I64, number: I64, path: I64) -> Subflows:
    """Equal integer pieces, number 0, 1, … of each flow."""
    pieces = np.bincount(flow, minlength=len(network.flows))[flow]
    size = network.flows.bytes[flow]
    low, high = number * size // pieces, (number + 1) * size // pieces
    return Subflows(flow, low, high - low, path).in_order()
