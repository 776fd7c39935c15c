"""What hashing would do: the largest load where every flow, or each of its k equal parts, takes a random path.

Sampled: exact only where no flow has a choice. A switch picks evenly among its next hops and knows nothing of widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from collsched.routes.bounds import forced_ports
from collsched.routes.model import F64, I64, whole
from collsched.routes.network import Network
from collsched.routes.whole import choosers_of

PATHS = (1, 2, 4, 8, 16)  # parts of each flow
MOST_TRIALS = 1_000
FEWEST_TRIALS = 20
_BUDGET = 500_000  # draws for each number of parts


@dataclass(frozen=True, slots=True)
class Expectation:
    """Largest time of a link over random hashes, in seconds: mean with its standard error, and 99th percentile."""

    mean: float
    p99: float
    stderr: float
    trials: int


def expect(network: Network, parts: int, seed: int = 0) -> Expectation:
    """The congestion of `parts` equal parts a flow, each on a path of its own hash."""
    choosers = choosers_of(network)
    everything = whole(network.flows, network.paths.begin[network.paths.pair])
    alone = np.setdiff1d(np.arange(len(network.flows)), choosers, assume_unique=True)
    fixed = network.loads(everything.take(alone)).astype(np.float64)
    if not len(choosers):
        seconds = float((fixed / network.rate).max(initial=0.0))
        return Expectation(seconds, seconds, 0.0, 1)
    random = np.random.default_rng([seed, parts])
    draw = (
        _Counted(network, choosers, parts) if _countable(network, choosers, parts) else _Drawn(network, choosers, parts)
    )
    trials = min(max(_BUDGET // draw.cost, FEWEST_TRIALS), MOST_TRIALS)
    largest = np.array([((fixed + draw.loads(random)) / network.rate).max() for _ in range(trials)])
    return Expectation(
        float(largest.mean()), float(np.quantile(largest, 0.99)), float(largest.std(ddof=1) / sqrt(trials)), trials
    )


def _countable(network: Network, choosers: I64, parts: int) -> bool:
    """Whether counting how many parts of each pair take each path is cheaper than drawing a path for each part."""
    equal = int(network.flows.bytes[choosers].min()) == int(network.flows.bytes[choosers].max())
    forced = bool(forced_ports(network)[network.paths.pair[choosers]].all())
    return equal and forced and len(network.paths.chance) < len(choosers) * parts


class _Drawn:
    """A path for each part, one by one."""

    def __init__(self, network: Network, choosers: I64, parts: int) -> None:
        self.network = network
        self.flow = np.repeat(choosers, parts)
        self.bytes = network.flows.bytes[self.flow] / parts
        self.pair = network.paths.pair[self.flow]
        self.cost = len(self.flow)
        # Chances of pair p lie end to end in (p, p + 1], so one search serves all pairs.
        owner = np.repeat(np.arange(len(network.paths.begin) - 1), np.diff(network.paths.begin))
        total = np.cumsum(network.paths.chance)
        before = np.concatenate([[0.0], total])[network.paths.begin[:-1]]
        self.ends = owner + np.minimum(total - before[owner], 1.0)
        self.last = network.paths.begin[1:] - 1

    def loads(self, random: np.random.Generator) -> F64:
        path = np.searchsorted(self.ends, self.pair + random.random(len(self.pair)), side="right")
        path = np.minimum(path, self.last[self.pair])
        entry, link = self.network.crossings(self.flow, path)
        return np.bincount(link, weights=self.bytes[entry], minlength=len(self.network.topology.links)).astype(
            np.float64
        )


class _Counted:
    """How many parts of each pair take each path; for equal sizes and forced ports."""

    def __init__(self, network: Network, choosers: I64, parts: int) -> None:
        self.network = network
        self.bytes = float(network.flows.bytes[choosers[0]]) / parts
        begin = network.paths.begin
        counts = np.bincount(network.paths.pair[choosers], minlength=len(begin) - 1) * parts
        widths = np.where(counts > 0, np.diff(begin), 0)
        self.batches = []
        for width in np.unique(widths[widths > 0]).tolist():
            pairs = np.flatnonzero(widths == width)
            paths = begin[pairs][:, None] + np.arange(width)
            chance = network.paths.chance[paths]
            self.batches.append((counts[pairs], chance / chance.sum(axis=1, keepdims=True), paths))
        self.cost = int(widths.sum())
        ranks = network.access(choosers, begin[network.paths.pair[choosers]])
        links = len(network.topology.links)
        sizes = network.flows.bytes[choosers].astype(np.float64)
        self.ranks = sum(np.bincount(side, weights=sizes, minlength=links) for side in ranks)

    def loads(self, random: np.random.Generator) -> F64:
        ptr, links = self.network.inner
        taken = np.zeros(len(ptr) - 1)
        for counts, chance, paths in self.batches:
            taken[paths] = random.multinomial(counts, chance)
        weights = np.repeat(taken * self.bytes, np.diff(ptr))
        inner = np.bincount(links, weights=weights, minlength=len(self.network.topology.links))
        return inner.astype(np.float64) + self.ranks


def expectations(network: Network, seed: int = 0) -> dict[int, Expectation]:
    """For 1, 2, 4, 8 and 16 parts a flow."""
    return {parts: expect(network, parts, seed) for parts in PATHS}
