"""All ranks of a job have the same fabric and plans, or all of them stop before the first step."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from collsched import __version__
from collsched.errors import CollschedError, InputError
from collsched.runtime.launchers import Peers
from collsched.topology import one_machine
from collsched.topology.model import Topology
from collsched.torch.fabric import digest
from collsched.torch.options import Given


@dataclass(frozen=True, slots=True)
class _Card:
    """What a rank brings, as the others see it."""

    error: str | None
    version: str
    host: str
    topology: str | None
    described: str
    plans: list[str]


def agree(peers: Peers, find: Callable[[], Given]) -> tuple[Topology, Given]:
    """The fabric of all ranks, and what each brings. Collective: `find` runs on every rank, and its failure on one of
    them, another number of ranks than the topology has, or a difference between ranks is an error on all.

    Raises InputError; on a rank whose `find` failed, what it raised.
    """
    failed: CollschedError | None = None
    given = Given(None)
    try:
        given = find()
    except CollschedError as error:
        failed = error
    mine = _card(given, failed)
    cards = [_Card(**json.loads(text)) for text in peers.exchange(json.dumps(mine).encode())]
    try:
        if failed is not None:
            raise failed
        for rank, card in enumerate(cards):
            if card.error is not None:
                raise InputError(f"rank {rank} on {card.host} cannot start: {card.error}")
        _same(cards)
        return _fabric(given.topology, cards), given
    except CollschedError:
        part(peers)
        raise


def part(peers: Peers) -> None:
    """Before all ranks raise what they exchanged: the one that serves their store ends only after the others have read
    it. Collective."""
    with suppress(Exception):
        peers.exchange(b"read")


def _card(given: Given, failed: CollschedError | None) -> dict[str, object]:
    topology = given.topology
    return {
        "error": None if failed is None else str(failed),
        "version": __version__,
        "host": socket.gethostname(),
        "topology": None if topology is None else digest(topology),
        "described": "none" if topology is None else f"{topology.name!r} of {len(topology.ranks)} ranks",
        "plans": sorted(plan.digest for plan in given.plans),
    }


def _same(cards: list[_Card]) -> None:
    first = cards[0]
    for rank, card in enumerate(cards):
        if card.version != first.version:
            found = f"collsched {first.version} on rank 0 ({first.host}), {card.version} on rank {rank} ({card.host})"
            raise InputError(f"{found}; install one version everywhere")
        if card.topology != first.topology:
            found = f"{first.described} on rank 0 ({first.host}), {card.described} on rank {rank} ({card.host})"
            raise InputError(f"the ranks have different topologies: {found}; give all of them the same file")
        if card.plans != first.plans:
            raise InputError(
                f"ranks 0 ({first.host}) and {rank} ({card.host}) have different plans; give all of them the same files"
            )


def _fabric(topology: Topology | None, cards: list[_Card]) -> Topology:
    if topology is not None:
        if len(topology.ranks) != len(cards):
            raise InputError(
                f"the topology {topology.name!r} has {len(topology.ranks)} ranks, this job {len(cards)}; start as many "
                "ranks as it has, or give the topology of this job"
            )
        return topology
    hosts = sorted({card.host for card in cards})
    if len(hosts) > 1:
        raise InputError(
            f"the ranks are on {len(hosts)} machines ({', '.join(hosts[:4])}{', …' * (len(hosts) > 4)}) and no "
            "topology is given: name one in COLLSCHED_TOPOLOGY or Options(source=…)"
        )
    return one_machine(len(cards))
