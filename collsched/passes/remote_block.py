"""The operations of one thread block: what a rank does in a group, wave by wave (see `remote_operations`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from collsched.ir.operations import MEMORY, PORT, Operation, Part
from collsched.ir.placement import Move, Spot

T = TypeVar("T")


@dataclass(slots=True)
class Share:
    """What a rank does in a group. Keys of `puts`, `reductions`, `signals` and `needs` are waves.

    puts        (own part, peer's part)
    reductions  the place, what is added to it, and the first move into it, which has the operand
    signals     peers that are told that data has arrived or is ready to be read
    inbox       peer → the waves in which it signals
    needs       peer → the wave whose signal must have come
    channel     peer → memory or port
    """

    puts: dict[int, list[tuple[Part, Part]]] = field(default_factory=lambda: defaultdict(list))
    reductions: dict[int, list[tuple[Spot, list[Part], Move]]] = field(default_factory=lambda: defaultdict(list))
    signals: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    inbox: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    needs: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    channel: dict[int, str] = field(default_factory=dict)
    puts_to: set[int] = field(default_factory=set)
    put_by: set[int] = field(default_factory=set)
    reads: set[int] = field(default_factory=set)
    read_by: set[int] = field(default_factory=set)

    def need(self, wave: int, peer: int, signalled: int) -> None:
        self.needs[wave][peer] = max(signalled, self.needs[wave].get(peer, signalled))


def block_operations(share: Share, width: int) -> list[Operation]:
    """All operations of the block; at most `width` channels or peers' parts in one."""
    block = _Block(share, width)
    block.tell("signal", share.put_by)
    block.tell("wait", share.puts_to)
    for wave in sorted(share.puts.keys() | share.reductions.keys() | share.signals.keys()):
        block.wait_for(share.needs.get(wave, {}))
        for spot, parts, first in share.reductions.get(wave, ()):
            block.reduce(spot, parts, first)
        block.sync()
        block.put(share.puts.get(wave, ()))
        block.sync()
        block.tell("signal", share.signals.get(wave, ()))
    block.wait_for({peer: max(waves) for peer, waves in share.inbox.items()})
    ports = {peer for peer, kind in share.channel.items() if kind == PORT}
    block.sync()
    block.tell("signal", share.reads | (share.put_by & ports))
    block.tell("wait", share.read_by | (share.puts_to & ports))
    return block.operations


class _Block:
    """Operations so far; since the last nop, whether data was accessed, whom was waited for and who was signalled."""

    def __init__(self, share: Share, width: int) -> None:
        self.share, self.width = share, width
        self.operations: list[Operation] = []
        self.pending = {peer: sorted(waves) for peer, waves in share.inbox.items()}
        self._accessed = False
        self._told: dict[str, set[int]] = {"signal": set(), "wait": set()}

    def sync(self) -> None:
        """All threads meet, if there is data or a wait that they need to know of."""
        if self._accessed or self._told["wait"]:
            self._meet()

    def _meet(self) -> None:
        self.operations.append(Operation("nop"))
        self._accessed = False
        for told in self._told.values():
            told.clear()

    def tell(self, name: str, peers: Iterable[int]) -> None:
        """Signal peers, or wait for one signal of each; threads meet before a peer's second."""
        if self._told[name] & set(peers):
            self._meet()
        self._told[name].update(peers)
        for kind in (MEMORY, PORT):
            chosen = sorted(peer for peer in peers if self.share.channel[peer] == kind)
            for some in _batches(chosen, self.width):
                self.operations.append(Operation(name, kind, tuple(some)))

    def wait_for(self, needs: Mapping[int, int]) -> None:
        """Wait until each peer's signal of a wave has come."""
        while due := {peer for peer, wave in needs.items() if self.pending[peer] and self.pending[peer][0] <= wave}:
            self.tell("wait", due)
            for peer in due:
                self.pending[peer].pop(0)
        if self._told["wait"]:
            self._meet()

    def reduce(self, spot: Spot, parts: Sequence[Part], first: Move) -> None:
        """Add own and remote parts to the operand of the first move, and store at the spot."""
        assert first.operand is not None
        operand = Part(first.operand, first.units)
        target = Part(spot, first.units)
        for own in (True, False):
            for some in _batches([part for part in parts if (part.peer is None) == own], self.width):
                peers = () if own else tuple(part.peer for part in some if part.peer is not None)
                if self.operations and self.operations[-1].targets == (target,):
                    self.sync()
                channel = None if own else MEMORY
                self.operations.append(Operation("re" if own else "rre", channel, peers, (operand, *some), (target,)))
                self._accessed = True
                operand = target

    def put(self, puts: Sequence[tuple[Part, Part]]) -> None:
        """Put own parts to peers; in one operation, all of one buffer and one kind of channel."""
        alike: dict[tuple[str, str], list[tuple[Part, Part]]] = defaultdict(list)
        for source, target in puts:
            assert target.peer is not None
            alike[self.share.channel[target.peer], source.spot.buffer].append((source, target))
        for (kind, _), pairs in sorted(alike.items()):
            for some in _batches(pairs, self.width):
                sources, targets = zip(*some, strict=True)
                peers = tuple(target.peer for target in targets)
                self.operations.append(Operation("put", kind, peers, sources, targets))
                self._accessed = True


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))
