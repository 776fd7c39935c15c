"""A timeline as Chrome trace events, which Perfetto and chrome://tracing open: a process for each rank that sends, a
thread for each route out of it (several where transfers overlap), and how full each kind of link is as a counter."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from collsched.ir.schedule import REDUCE
from collsched.report.kinds import link_kinds
from collsched.report.motion import Motion
from collsched.report.traffic import profile
from collsched.topology.model import Topology

MOST_SPANS = 1 << 17
COUNTED = 200  # samples of a counter

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """`text`: the JSON. `shown`: how many of the `senders` have their transfers in it, `spans`: how many transfers."""

    text: str
    shown: int
    senders: int
    spans: int


def trace(topology: Topology, motion: Motion, title: str) -> Trace:
    """The events of a motion; where they would be more than MOST_SPANS, those of the first senders only."""
    links = motion.schedule.routes.links.tolist()
    paths = [links[a:b] for a, b in pairwise(motion.schedule.routes.ptr.tolist())]
    process = _processes(topology, motion)
    sender = np.array([process[topology.links[path[0]].src] for path in paths], np.int64)
    ranks = len(process)
    from_rank = np.bincount(sender[motion.route], motion.nbytes > 0, ranks).cumsum() if len(paths) else np.zeros(ranks)
    shown = max(1, int(np.searchsorted(from_rank, MOST_SPANS, side="right")))
    chosen = (
        np.flatnonzero((sender[motion.route] < shown) & (motion.nbytes > 0)) if len(paths) else np.zeros(0, np.int64)
    )
    events: list[Event] = [*_named(topology, list(process)[:shown]), *_counters(topology, motion)]
    events += _spans(topology, motion, paths, chosen, process)
    about = {"title": title, "times": motion.source, "pieces of a chunk": motion.segments}
    if shown < ranks:
        about["ranks"] = f"the transfers that the first {shown} of {ranks} senders send"
    lines = ",\n".join(json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in events)
    head = json.dumps(about, ensure_ascii=False)
    text = f'{{"displayTimeUnit":"ns","otherData":{head},"traceEvents":[\n{lines}\n]}}\n'
    return Trace(text, min(shown, ranks), ranks, len(chosen))


def _processes(topology: Topology, motion: Motion) -> dict[int, int]:
    """Who sends, node → number: all ranks, then switches that copy or sum."""
    return {node: number for number, node in enumerate((*topology.ranks, *motion.schedule.routes.switches(topology)))}


def _named(topology: Topology, shown: Sequence[int]) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "links"}}
    for number, node in enumerate(shown, 1):
        yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": topology.nodes[node].name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": number, "args": {"sort_index": number}}


def _counters(topology: Topology, motion: Motion) -> Iterator[Event]:
    """The mean rate of each kind of link, as a percentage of its bandwidth."""
    rates = profile(topology, motion, COUNTED)
    for kind in link_kinds(topology):
        mean = 100 * rates[list(kind.links)].mean(axis=0)
        name = f"{kind.ends} {float(kind.bandwidth):g} GB/s"
        for part, value in enumerate(mean.tolist()):
            at = part * motion.seconds / COUNTED * 1e6
            yield {"ph": "C", "name": name, "pid": 0, "ts": round(at, 4), "args": {"% in use": round(value, 2)}}


def _spans(
    topology: Topology, motion: Motion, paths: Sequence[Sequence[int]], chosen: Any, process: Mapping[int, int]
) -> Iterator[Event]:
    """A span from the first to the last byte of each transfer; threads are named as they are first needed."""
    names = [node.name for node in topology.nodes]
    order = chosen[np.lexsort((motion.sent[chosen], motion.leaves[chosen]))]
    reduces = motion.schedule.transfers.op == REDUCE
    pieces = motion.segments if motion.source == "simulated" else 1  # of a chunk that transfers are told apart by
    free: dict[tuple[int, ...], list[tuple[float, int]]] = {}
    threads: dict[int, int] = {}
    for flow in order.tolist():
        path = tuple(paths[motion.route[flow]])
        sender = process[topology.links[path[0]].src] + 1
        lanes = free.setdefault(path, [])
        start, end = float(motion.leaves[flow]), float(motion.sent[flow])
        if lanes and lanes[0][0] <= start + 1e-15:
            _, thread = heapq.heappop(lanes)
        else:
            thread = threads[sender] = threads.get(sender, 0) + 1
            stops = [names[topology.links[link].dst] for link in path]
            via = f" by {', '.join(stops[:-1])}" if len(stops) > 1 else ""
            yield {
                "ph": "M",
                "name": "thread_name",
                "pid": sender,
                "tid": thread,
                "args": {"name": f"to {stops[-1]}{via}"},
            }
        heapq.heappush(lanes, (end, thread))
        chunk = int(motion.schedule.transfers.chunk[flow])
        yield {
            "ph": "X", "pid": sender, "tid": thread, "cat": "reduce" if reduces[flow] else "copy",
            "name": f"chunk {chunk // pieces}", "ts": round(start * 1e6, 4), "dur": round((end - start) * 1e6, 4),
            "args": {"bytes": int(motion.nbytes[flow]), "piece": chunk % pieces,
                     "arrives_us": round(float(motion.arrived[flow]) * 1e6, 4)},
        }  # fmt: skip
