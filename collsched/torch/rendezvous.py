"""`init_method="collsched://"`: the ranks of `collsched launch`, mpirun or torchrun find each other."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from collsched.errors import InputError
from collsched.runtime.launchers import Peers
from collsched.runtime.peers import find

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rendezvous(url: str, timeout: timedelta = timedelta(minutes=30), **options: Any) -> Iterator[tuple[Any, int, int]]:
    """What torch calls with the URL: a store, this rank, and the number of ranks.

    Raises InputError for a process that no launcher started.
    """
    if all(name in os.environ for name in _TORCHRUN):
        yield from dist.rendezvous("env://", timeout=timeout)
        return
    peers = find()
    if peers is None:
        raise InputError(
            "no launcher started this process: use `collsched launch -n N -- python …`, mpirun or torchrun"
        )
    yield _store(peers, timeout), peers.rank, peers.ranks


def _store(peers: Peers, timeout: timedelta) -> Any:
    """A store that rank 0 serves, on a free port of its own choice."""
    mine = socket.gethostname()
    hosts = {name.decode() for name in peers.exchange(mine.encode())}
    store = None
    address = b""
    if peers.rank == 0:
        host = mine if len(hosts) > 1 else "127.0.0.1"
        store = dist.TCPStore(host, 0, peers.ranks, True, timeout, wait_for_workers=False)
        address = json.dumps([host, store.port]).encode()
    host, port = json.loads(peers.exchange(address)[0])
    if store is None:
        store = dist.TCPStore(host, port, peers.ranks, False, timeout, wait_for_workers=False)
    return store
