"""Whole flows onto paths, one each: colours where the fabric is a uniform Clos, else the emptiest path first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched._core import assign_paths
from collsched.routes.clos import Clos, colour_paths, find_clos
from collsched.routes.model import F64, I32, I64, Flows, Subflows, whole
from collsched.routes.network import Network

MOST_MOVES = 20_000  # of flows off the fullest link


def clos_of(network: Network, choosers: I64) -> tuple[Clos, I32] | None:
    """The uniform Clos that the flows with a choice of paths see, and the pair of each of them in it."""
    if not len(choosers):
        return None
    pairs, pair = np.unique(network.paths.pair[choosers], return_inverse=True)
    narrowed, _ = narrow(network, choosers, pairs, pair.astype(np.int32))
    clos = find_clos(narrowed)
    if clos is None:
        return None
    low = network.paths.begin[pairs] - narrowed.paths.begin[:-1]
    shifted = clos.path + low[:, None, None]
    return Clos(clos.planes, clos.cores, clos.leaf, clos.pod, shifted), pair.astype(np.int32)


def narrow(network: Network, flows: I64, pairs: NDArray[Any], pair: I32) -> tuple[Network, I64]:
    """The network for some flows and their pairs alone, and the original number of each of its paths."""
    begin = network.paths.begin
    counts = begin[pairs + 1] - begin[pairs]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    kept = np.arange(starts[-1]) - np.repeat(starts[:-1] - begin[pairs], counts)
    return network.chosen(network.flows.take(flows), pair, starts, kept), kept


def choosers_of(network: Network) -> I64:
    """Flows that have bytes and more than one path."""
    several = np.diff(network.paths.begin) > 1
    return np.flatnonzero(several[network.paths.pair] & (network.flows.bytes > 0))


def assign(
    network: Network, flows: Flows, pair: I32, background: F64, fixed: I64 | None = None, *, moves: int = MOST_MOVES
) -> I64:
    """[flows] a path each: those in `fixed` at first, else the emptiest, largest flows first; then single moves off the
    fullest link."""
    up, down = network.wires.ports
    first, last = network.ends
    order = np.argsort(-flows.bytes, kind="stable")
    link_begin, links = network.inner
    start = np.full(len(flows), -1, np.int64) if fixed is None else fixed[order]
    found = assign_paths(
        flows.src[order], flows.dst[order], pair[order], flows.bytes[order], network.paths.begin, link_begin, links,
        first, last, up.begin, up.link, down.begin, down.link, network.rate, background,
        start, moves, True,
    )  # fmt: skip
    path = np.empty(len(flows), np.int64)
    path[order] = found
    return path


def route_whole(network: Network) -> Subflows:
    """Every flow whole: T1, T3 or T5 on a uniform Clos, mended by single moves where sizes differ."""
    path = network.paths.begin[network.paths.pair].copy()
    choosers = choosers_of(network)
    if not len(choosers):
        return whole(network.flows, path)
    alone = np.setdiff1d(np.arange(len(network.flows)), choosers)
    background = network.loads(whole(network.flows, path).take(alone)).astype(np.float64)
    flows, pair = network.flows.take(choosers), network.paths.pair[choosers]
    candidates = []
    known = clos_of(network, choosers)
    if known is not None:
        clos, clos_pair = known
        coloured = colour_paths(clos, flows, clos_pair)
        equal = int(flows.bytes.min()) == int(flows.bytes.max())
        candidates.append(coloured if equal else assign(network, flows, pair, background, coloured))
    if known is None or (not equal and len(choosers) <= 100_000):
        candidates.append(assign(network, flows, pair, background))
    routings = []
    for candidate in candidates:
        path = path.copy()
        path[choosers] = candidate
        routings.append(whole(network.flows, path))
    return min(routings, key=lambda routing: network.congestion(network.loads(routing)))
