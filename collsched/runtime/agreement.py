"""What ranks compare on the host, over whatever exchange of bytes their launcher offers."""

from __future__ import annotations

import json
from typing import Any

from collsched.errors import EngineError
from collsched.runtime.engine import RELAY, Call
from collsched.runtime.launchers import Peers


class Agreement:
    """One communicator's exchanges. Each says what it is for, so ranks that meet for different things find out."""

    def __init__(self, peers: Peers, kind: str) -> None:
        self._peers, self._kind = peers, kind
        self._calls = 0

    def gather(self, data: bytes) -> list[bytes]:
        """The data of every rank. Raises EngineError if some rank does something else."""
        return [bytes.fromhex(text) for text in self._exchange("gather", data.hex())]

    def same(self, what: str, value: Any) -> None:
        """Raises EngineError, on all ranks, unless all have the same value; `what` is its name."""
        self._compare(f"the ranks have different {what}", self._exchange(what, value), str)

    def agree(self, call: Call) -> Call:
        """The call that all ranks made. Raises EngineError, on all ranks, if they differ."""
        self._calls += 1
        calls = [Call(*made) for made in self._exchange("call", [call.count, call.dtype, call.op])]
        given = next((made for made in calls if made.count != RELAY), None)
        if given is None:
            raise EngineError(f"no rank gave data to {self._kind}")
        text = f"the ranks disagree in call {self._calls}"
        self._compare(text, [None if made.count == RELAY else made for made in calls], self._describe)
        return given

    def _describe(self, call: Call) -> str:
        return f"made {self._kind} of {call.count} {call.dtype} ({call.op})"

    def _compare(self, text: str, values: list[Any], describe: Any) -> None:
        first = next((rank for rank, value in enumerate(values) if value is not None), 0)
        for rank, value in enumerate(values):
            if value is not None and value != values[first]:
                raise EngineError(f"{text}: rank {first} {describe(values[first])}, rank {rank} {describe(value)}")

    def _exchange(self, purpose: str, value: Any) -> list[Any]:
        message = json.dumps([self._kind, purpose, value]).encode()
        found = [json.loads(data) for data in self._peers.exchange(message)]
        for rank, (kind, theirs, _) in enumerate(found):
            if (kind, theirs) != (found[0][0], found[0][1]):
                raise EngineError(
                    f"rank 0 is at a {found[0][1]} of its {found[0][0]}, rank {rank} at a {theirs} of its {kind}: all "
                    "ranks make the same calls in the same order"
                )
        return [value for _, _, value in found]
