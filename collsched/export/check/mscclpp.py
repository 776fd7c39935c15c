"""Reads an MSCCL++ execution plan as its executor does, checks what that checks, and executes it symbolically.

Written from microsoft/mscclpp: src/core/executor/execution_plan.cc and executor.cc (what a plan says and how channels
are paired), src/core/include/execution_common.hpp (sizes of tables) and execution_kernel.hpp (operations).

The threads of a block meet only at `nop`: a *phase* is what stands between two of them, and its operations run side
by side. A signal tells of the phases before its own; a wait holds for the phases after its own. A port channel has a
proxy that does its puts and signals one after another, some time after they were asked for. So a thread has, for
every phase, an event in which its threads meet, which acquires what was waited for, and an event with the operations.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collsched.errors import InputError
from collsched.export.check.contract import Call
from collsched.export.check.machine import Event, Op, Point, Span, Thread, execute, refuse

_NAMES = {"allgather": "allgather", "allreduce": "allreduce", "reducescatter": "reduce-scatter", "reduce": "reduce",
          "broadcast": "broadcast", "alltoall": "all-to-all"}  # fmt: skip
_CONTROL, _DATA = ("nop", "signal", "wait"), ("put", "copy", "re", "rre")

# What the executor's tables hold (execution_common.hpp); the last is what the smallest of its GPUs keeps resident.
LIMITS = {
    "operations of a thread block": 64,
    "channels of a kind and thread block": 16,
    "remote buffers of a kind and thread block": 16,
    "channels of an operation": 8,
    "buffers of an operation": 10,
    "thread blocks of a rank": 104,
}
_MEND = "compile with fewer trees (--trees-per-root 1), or export with fewer --segments or --blocks"


class Channel(NamedTuple):
    """The n-th channel of its kind from one rank to another."""

    kind: str
    rank: int
    peer: int
    number: int

    @property
    def other(self) -> Channel:
        """The peer's end."""
        return Channel(self.kind, self.peer, self.rank, self.number)

    def __str__(self) -> str:
        return f"{self.kind} channel {self.number} of rank {self.rank} to {self.peer}"


@dataclass(slots=True)
class _Threads:
    """Threads built so far, and on every channel the signals given and the events that wait for them, in order."""

    threads: list[Thread] = field(default_factory=list)
    signals: dict[Channel, list[Point]] = field(default_factory=lambda: defaultdict(list))
    waits: dict[Channel, list[Event]] = field(default_factory=lambda: defaultdict(list))
    users: dict[Channel, str] = field(default_factory=dict)


def check_mscclpp(
    text: str, *, ranks: int, kind: str, root: int | None = None, in_place: bool = False
) -> Counter[tuple[int, int]]:
    """Load the text and execute it for a call of that kind. Returns the units that every rank moves to every other.

    Raises InputError where one of `LIMITS` is exceeded, VerificationError where the plan is malformed or does not do
    what the call owes.
    """
    try:
        plan = json.loads(text)
        return _check(plan, Call(kind, ranks, _units(plan, kind), root, in_place))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        refuse("form", f"a key or entry is missing or of another type: {type(error).__name__} {error}")
    return Counter()


def _units(plan: Mapping[str, Any], kind: str) -> int:
    gpu = plan["gpus"][0]
    return int(gpu["output_chunks"] if kind == "allgather" else gpu["input_chunks"])


def _check(plan: Mapping[str, Any], call: Call) -> Counter[tuple[int, int]]:
    gpus = plan["gpus"]
    if _NAMES.get(plan["collective"]) != call.kind or len(gpus) != call.ranks or plan["inplace"] is not call.in_place:
        refuse(
            "collective", f"{plan['collective']} of {len(gpus)} ranks, in place {plan['inplace']}; {call} is expected"
        )
    if plan["protocol"] != "Simple" or plan["reuse_resources"] or plan["use_double_scratch_buffer"]:
        refuse("protocol", "Simple, without reuse of resources or a double scratch buffer, is what this reader knows")
    if plan["buffer_alignment"] % 16 or not 0 <= plan["min_message_size"] <= plan["max_message_size"] < 1 << 32:
        refuse("sizes", "offsets are 32 bits wide and the alignment is a multiple of 16 bytes")
    if [gpu["id"] for gpu in gpus] != list(range(call.ranks)):
        refuse("ranks", "gpus are not 0, 1, … in order")
    for gpu in gpus:
        if (gpu["input_chunks"], gpu["output_chunks"]) != call.sizes():
            refuse("buffers", f"rank {gpu['id']}: chunks of input and output are not {call.sizes()}")
        _check_limits(gpu)
    known = _Threads()
    for gpu in gpus:
        channels = _channels(gpu)
        for number, block in enumerate(gpu["threadblocks"]):
            if block["id"] != number:
                refuse("blocks", f"thread blocks of rank {gpu['id']} are not numbered 0, 1, … in order")
            _Reader(known, gpu, channels, block).read()
    _meet(known)
    return execute(call, known.threads, [gpu["scratch_chunks"] for gpu in gpus])


def _check_limits(gpu: Mapping[str, Any]) -> None:
    _limit("thread blocks of a rank", len(gpu["threadblocks"]), f"rank {gpu['id']}")
    for block in gpu["threadblocks"]:
        where = f"thread block {block['id']} of rank {gpu['id']}"
        _limit("operations of a thread block", len(block["ops"]), where)
        for held in block["channels"]:
            _limit("channels of a kind and thread block", len(held["channel_ids"]), where)
        for refs in block["remote_buffer_refs"]:
            _limit("remote buffers of a kind and thread block", len(refs["remote_buffer_ids"]), where)
        for op in block["ops"]:
            _limit("channels of an operation", len(op.get("channel_ids", ())), where)
            _limit("buffers of an operation", max(len(op.get("src_buff", ())), len(op.get("dst_buff", ()))), where)


def _limit(name: str, found: int, where: str) -> None:
    if found > LIMITS[name]:
        raise InputError(
            f"the executor refuses the plan by its limit “{name}”: {where} has {found}, at most {LIMITS[name]} are "
            f"allowed; {_MEND}{', or with --in-place' * ('buffers' in name)}"
        )


def _channels(gpu: Mapping[str, Any]) -> dict[str, list[Channel]]:
    """The channels of a rank by kind; the n-th to a peer meets the peer's n-th back."""
    channels: dict[str, list[Channel]] = {"memory": [], "port": []}
    for group in gpu["channels"]:
        for peer in group["connected_to"]:
            held = channels[group["channel_type"]]
            held.append(Channel(group["channel_type"], gpu["id"], peer, sum(c.peer == peer for c in held)))
    return channels


class _Reader:
    """Makes threads of one thread block: one of phases, between an event for its start and one for its end, and one for
    the proxy of every port channel."""

    def __init__(
        self,
        known: _Threads,
        gpu: Mapping[str, Any],
        channels: Mapping[str, list[Channel]],
        block: Mapping[str, Any],
    ) -> None:
        self.known, self.rank, self.block = known, int(gpu["id"]), block
        self.name = f"thread block {block['id']} of rank {self.rank}"
        self.channels: dict[str, list[Channel]] = {"memory": [], "port": []}
        self.buffers: dict[str, list[tuple[int, str]]] = {"memory": [], "port": []}
        for held in block["channels"]:
            self.channels[held["channel_type"]] = [channels[held["channel_type"]][i] for i in held["channel_ids"]]
        for refs in block["remote_buffer_refs"]:
            for i in refs["remote_buffer_ids"]:
                buffer = gpu["remote_buffers"][i]
                if refs["access_channel_type"] not in buffer["access_channel_types"]:
                    refuse("remote buffer", f"{self.name} reaches buffer {i} over a kind of channel that it is not for")
                self.buffers[refs["access_channel_type"]].append((buffer["rank"], buffer["type"]))
        self.thread = len(known.threads)
        self.phases = [Event(), Event()]
        self.used: set[tuple[str, Channel]] = set()  # in this phase
        self.proxies: dict[Channel, int] = {}

    def read(self) -> None:
        self.known.threads.append(Thread(self.rank, self.name, self.phases))
        waits: list[Channel] = []
        for position, op in enumerate(self.block["ops"]):
            where = f"{self.name}, operation {position} ({op['name']})"
            if op["name"] not in _CONTROL + _DATA:
                refuse("operation", f"{where} is none that this reader knows")
            if op["name"] == "nop":
                self._next_phase(waits)
            elif op["name"] in _DATA:
                self._access(op, where)
            else:
                for channel in self._named(op):
                    self._once(op["name"], channel, where)
                    if op["name"] == "wait":
                        waits.append(channel)
                    else:
                        self._signal(channel)
        self._next_phase(waits)

    def _next_phase(self, waits: list[Channel]) -> None:
        self.phases += [Event(), Event()]
        for channel in waits:
            self.known.waits[channel].append(self.phases[-2])
        waits.clear()
        self.used.clear()

    def _named(self, op: Mapping[str, Any]) -> list[Channel]:
        channels = [self.channels[op["channel_type"]][i] for i in op["channel_ids"]]
        for channel in channels:
            if self.known.users.setdefault(channel, self.name) != self.name:
                refuse("channel", f"{channel} is used by {self.known.users[channel]} and by {self.name}")
        return channels

    def _once(self, use: str, channel: Channel, where: str) -> None:
        """Two signals or two waits of a channel have an order only in different phases; so have a put over a port and
        the signal that tells of it."""
        if (use, channel) in self.used or (use == "signal" and ("put", channel) in self.used):
            refuse("order", f"{where} uses {channel}, and no nop is between that and what came before on it")
        self.used.add((use, channel))

    def _signal(self, channel: Channel) -> None:
        """A signal tells what was complete when the phase began, and over a port what the proxy has done."""
        before = self.thread, len(self.phases) - 2
        if channel.kind == "memory":
            self.known.signals[channel].append(before)
            return
        self.known.signals[channel].append(self._ask(channel, Event(acquires=[before])))

    def _ask(self, channel: Channel, event: Event) -> Point:
        """Give the proxy of a port channel something to do."""
        if channel not in self.proxies:
            self.proxies[channel] = len(self.known.threads)
            self.known.threads.append(Thread(self.rank, f"the proxy of {channel}", [], proxy=True))
        events = self.known.threads[self.proxies[channel]].events
        events.append(event)
        return self.proxies[channel], len(events) - 1

    def _access(self, op: Mapping[str, Any], where: str) -> None:
        sources = [self._span(op, part, where) for part in op["src_buff"]]
        targets = [self._span(op, part, where) for part in op["dst_buff"]]
        if op["name"] != "put":
            if len(targets) != 1 or targets[0].rank != self.rank or sources[0].rank != self.rank:
                refuse("operation", f"{where} stores to one place of its own rank, and its first source is its own")
            if op["name"] == "re" and any(span.rank != self.rank for span in sources):
                refuse("operation", f"{where} reduces what is not its own")
            self.phases[-1].ops.append(Op(where, sources, (), targets[0]))
            return
        if len({part["type"] for part in op["src_buff"]}) > 1 or len(sources) != len(targets):
            refuse("operation", f"{where} takes sources from one buffer, one for each target")
        channels = self._named(op)
        for source, target, channel in zip(sources, targets, channels, strict=True):
            if target.rank != channel.peer:
                refuse("operation", f"{where} puts to rank {target.rank} over {channel}")
            task = Op(where, [source], (), target)
            if channel.kind == "memory":
                self.phases[-1].ops.append(task)
            else:
                self.used.add(("put", channel))
                self._ask(channel, Event([task], [(self.thread, len(self.phases) - 2)]))

    def _span(self, op: Mapping[str, Any], part: Mapping[str, Any], where: str) -> Span:
        if "buffer_id" in part:
            rank, buffer = self.buffers[op["channel_type"]][part["buffer_id"]]
            if op["name"] == "rre" and op["channel_type"] != "memory":
                refuse("operation", f"{where} reads another rank's memory over a port")
            return Span(rank, buffer, part["index"], part["size"])
        return Span(self.rank, part["type"], part["index"], part["size"])


def _meet(known: _Threads) -> None:
    """The n-th wait on a channel acquires what the n-th signal of the other end tells."""
    for channel in known.signals.keys() | {channel.other for channel in known.waits}:
        signals, waits = known.signals[channel], known.waits[channel.other]
        if len(signals) != len(waits):
            refuse("signals", f"{channel} gives {len(signals)} signals, the other end waits for {len(waits)}")
        for source, event in zip(signals, waits, strict=True):
            event.acquires.append(source)
