"""Which ranks share which GPU, and how many blocks each of them may start.

Blocks that do not run cannot send, and those that wait for them do not end: all blocks of all ranks on a GPU must be
able to run at the same time. (Processes whose kernels a GPU runs by turns would get by with more; nobody can tell.)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from collsched.errors import EngineError

CONNECTIONS = "CUDA_DEVICE_MAX_CONNECTIONS"
_USUAL = 32  # blocks a rank, where nothing is asked for


@dataclass(frozen=True, slots=True)
class Card:
    """What a rank tells the others: its process, the number of its device there, the GPU's bus address, the blocks that
    this GPU runs at once, the hardware queues of the process, the blocks it asks for, why it cannot start."""

    process: int
    device: int
    gpu: str = ""
    blocks: int = 0
    queues: int = 8
    stripes: int | None = None
    failure: str = ""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Card:
        return cls(**json.loads(data))


def blocks(cards: Sequence[Card]) -> int:
    """The blocks of every rank. Raises EngineError, on all ranks alike, where they would not run at once."""
    if failure := next((card.failure for card in cards if card.failure), ""):
        raise EngineError(failure)
    asked = sorted({str(card.stripes) for card in cards})
    if len(asked) > 1:
        raise EngineError(f"the ranks ask for different stripes, {' and '.join(asked)}; use one Tuning")
    _check_queues(cards)
    sharing = Counter(card.gpu for card in cards)
    full = min(cards, key=lambda card: card.blocks // sharing[card.gpu])
    room = full.blocks // sharing[full.gpu]
    wanted = cards[0].stripes or min(_USUAL, max(1, room))
    if wanted > room:
        mend = f"at most {room} a rank: Tuning(stripes={room})" if room else "start fewer ranks a GPU"
        raise EngineError(
            f"{sharing[full.gpu]} ranks with {wanted} blocks each do not fit on GPU {full.gpu}, which runs "
            f"{full.blocks} blocks at once; {mend}"
        )
    return wanted


def _check_queues(cards: Sequence[Card]) -> None:
    """Kernels of one process on one GPU run side by side only if they come through different hardware queues."""
    together = Counter((card.process, card.gpu) for card in cards)
    for card in cards:
        ranks = together[card.process, card.gpu]
        if ranks > card.queues:
            raise EngineError(
                f"{ranks} ranks of process {card.process} share GPU {card.gpu}, which takes kernels of a process from "
                f"{card.queues} queues: set {CONNECTIONS}=32 before CUDA starts"
            )
