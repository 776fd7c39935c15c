"""The levels of a fabric, from its links: which ranks are closer to each other than to the rest.

- *bandwidth*: ranks that links of at least some bandwidth join, both ways, for every bandwidth that occurs: what is
  left together after all slower links are gone;
- *hosts*, as the topology names them;
- *distance*: ranks that routes of at most so many links join, such as those of a leaf or a pod.

Of these partitions those count that are nested in each other; in doubt the first in this order: hosts, bandwidth,
distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from collsched.algorithms.hosts import by_host
from collsched.algorithms.trees import Ints
from collsched.collective import Collective
from collsched.topology.model import Topology

Partition = tuple[int, ...]  # the group of each member, numbered as they appear


def tiers(topology: Topology, collective: Collective, links: NDArray[np.int64]) -> list[Partition]:
    """The nested partitions of the group's members, the coarsest first, without the whole and the single members.

    `links`: [members, members] of the route between them, 0 where there is none.
    """
    found: list[Partition] = []
    for partition in _partitions(topology, collective, links):
        count = len(set(partition))
        if 1 < count < len(partition) and all(_nested(partition, other) for other in found):
            found.append(partition)
    return sorted(dict.fromkeys(found), key=lambda partition: len(set(partition)))


def _partitions(topology: Topology, collective: Collective, links: NDArray[np.int64]) -> Iterator[Partition]:
    host = np.empty(len(collective.group), np.int64)
    for number, members in enumerate(by_host(topology, collective)):
        host[members] = number
    yield _numbered(host)
    yield from by_bandwidth(topology, collective)
    for far in np.unique(links[links > 0]).tolist():
        joined = (links > 0) & (links <= far)
        yield _numbered(components(len(links), *np.nonzero(joined & joined.T)))


def by_bandwidth(topology: Topology, collective: Collective) -> Iterator[Partition]:
    """What links of at least each bandwidth join, from the highest down."""
    members = [topology.ranks[rank] for rank in collective.group]
    rate = {(link.src, link.dst): link.bandwidth for link in topology.links}
    by_rate: dict[Fraction, list[tuple[int, int]]] = {}
    for (src, dst), bandwidth in rate.items():
        if src < dst and (dst, src) in rate:
            by_rate.setdefault(min(bandwidth, rate[dst, src]), []).append((src, dst))
    label = np.arange(len(topology.nodes))
    for bandwidth in sorted(by_rate, reverse=True):
        one, two = np.array(by_rate[bandwidth], np.int64).T
        label = components(len(label), label[one], label[two])[label]
        yield _numbered(label[members])


def components(count: int, one: Ints, two: Ints) -> Ints:
    """[count] The number of the component of each vertex under these edges, from 0."""
    label = np.arange(count)
    while True:
        least = label.copy()
        np.minimum.at(least, one, label[two])
        np.minimum.at(least, two, label[one])
        least = least[least]
        if (least == label).all():
            return np.unique(label, return_inverse=True)[1].reshape(-1)
        label = least


def _numbered(label: Ints) -> Partition:
    order = {value: number for number, value in enumerate(dict.fromkeys(label.tolist()))}
    return tuple(order[value] for value in label.tolist())


def _nested(one: Sequence[int], two: Sequence[int]) -> bool:
    """Whether one partition refines the other."""
    pairs = len(set(zip(one, two, strict=True)))
    return pairs == max(len(set(one)), len(set(two)))
