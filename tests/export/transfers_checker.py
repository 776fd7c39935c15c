"""A checker of exported transfers, written from the format's description alone; it imports nothing of the project.

It simulates: a transfer runs once its deps have arrived and the transfers before it on its lane (same src, dst, path
and chan) have run. Timing is drawn at random, so that what only luck orders shows up.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any


def check(topology: dict[str, Any], schedule: dict[str, Any], size: int, seed: int = 0) -> Counter[tuple[int, int]]:
    """Assert that the schedule does its collective. Returns the bytes over each link."""
    npus, devices = topology["npus"], topology["devices"]
    assert len(topology["names"]) == devices >= npus
    links = {(a, b) for a, b, gbps, us in topology["links"] if gbps > 0 and us >= 0}
    assert len(links) == len(topology["links"])
    chunks, transfers = schedule["chunks"], schedule["transfers"]
    assert [chunk["id"] for chunk in chunks] == list(range(len(chunks)))
    assert all(type(chunk["bytes"]) is int and chunk["bytes"] > 0 for chunk in chunks)
    assert sum(chunk["bytes"] for chunk in chunks) == size
    assert [transfer["id"] for transfer in transfers] == list(range(len(transfers)))
    load: Counter[tuple[int, int]] = Counter()
    for transfer in transfers:
        path = transfer["path"]
        assert path[0] == transfer["src"] != transfer["dst"] == path[-1]
        assert all(end < npus or end in topology["smart"] for end in (transfer["src"], transfer["dst"]))
        assert all(node >= npus for node in path[1:-1]) and len(set(path)) == len(path)
        assert transfer["op"] in ("copy", "reduce")
        for hop in zip(path, path[1:]):  # noqa: B905, RUF007
            assert hop in links
            load[hop] += chunks[transfer["chunk"]]["bytes"]
    held = simulate(schedule, random.Random(seed))
    check_end(schedule, held)
    return load


def start(schedule: dict[str, Any]) -> dict[tuple[int, int], Counter[int]]:
    """(rank, chunk) → how often each rank's contribution is in it."""
    held = {}
    for chunk in schedule["chunks"]:
        match schedule["collective"]:
            case "allreduce" | "reduce" | "reduce_scatter":
                sources = schedule["group"]
            case "broadcast":
                sources = [schedule["root"]]
            case _:
                sources = [chunk["owner"]]
        held |= {(rank, chunk["id"]): Counter([rank]) for rank in sources}
    return held


def simulate(schedule: dict[str, Any], rng: random.Random) -> dict[tuple[int, int], Counter[int]]:
    held = start(schedule)
    lanes = defaultdict(list)
    for transfer in schedule["transfers"]:
        lane = (transfer["src"], transfer["dst"], tuple(transfer["path"]), transfer["chan"])
        lanes[lane].append(transfer)
    queues = [queue[::-1] for queue in lanes.values()]
    flying: list[tuple[dict[str, Any], Counter[int]]] = []
    arrived: set[int] = set()
    while flying or any(queues):
        ready = [queue for queue in queues if queue and set(queue[-1]["deps"]) <= arrived]
        assert ready or flying, "deadlock"
        if ready and (not flying or rng.random() < 0.5):
            transfer = rng.choice(ready).pop()
            place = (transfer["src"], transfer["chunk"])
            assert place in held, "sends what it does not hold"
            flying.append((transfer, held[place].copy()))
            continue
        transfer, data = flying.pop(rng.randrange(len(flying)))
        place = (transfer["dst"], transfer["chunk"])
        if transfer["op"] == "reduce":
            assert place in held, "reduces onto nothing"
            data = held[place] + data
        held[place] = data
        arrived.add(transfer["id"])
    return held


def check_end(schedule: dict[str, Any], held: dict[tuple[int, int], Counter[int]]) -> None:
    group, root = schedule["group"], schedule["root"]
    total = Counter(group)
    for chunk in schedule["chunks"]:
        match schedule["collective"]:
            case "allreduce":
                goals = dict.fromkeys(group, total)
            case "reduce_scatter":
                goals = {chunk["owner"]: total}
            case "reduce":
                goals = {root: total}
            case "broadcast":
                goals = {rank: Counter([root]) for rank in group}
            case "allgather":
                goals = {rank: Counter([chunk["owner"]]) for rank in group}
            case _:
                goals = {chunk["dst"]: Counter([chunk["owner"]])}
        for rank, goal in goals.items():
            assert held.get((rank, chunk["id"])) == goal, f"rank {rank}, chunk {chunk['id']}"
