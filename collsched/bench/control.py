"""What the ranks of a benchmark tell each other beside the collectives: a star of TCP connections around rank 0.

A rank that waits here sleeps in `recv`, so it takes no core from the side that is being measured. Whoever connects
shows the token that only ranks of this benchmark have.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from collsched.errors import EngineError

_LENGTH = struct.Struct("<q")
_HELLO = struct.Struct("<q32s")
_PATIENCE = 5.0  # seconds that a newcomer has to show the token
_MOST = 1 << 30  # bytes of one message


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where rank 0 listens, and the token that lets a rank in."""

    host: str
    port: int
    token: bytes

    def to_bytes(self) -> bytes:
        return json.dumps([self.host, self.port, self.token.hex()]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        host, port, token = json.loads(data)
        return cls(host, port, bytes.fromhex(token))


def listen(host: str, ranks: int) -> tuple[socket.socket, Meeting]:
    """A listening socket for rank 0, and what the others must know. Raises EngineError."""
    try:
        listener = socket.create_server((host, 0), backlog=max(1, ranks))
    except OSError as error:
        raise EngineError(f"cannot listen on {host}: {error.strerror}; the ranks have no way to meet") from None
    return listener, Meeting(host, listener.getsockname()[1], secrets.token_bytes(32))


class PeerLeft(EngineError):
    """Another rank has gone; it knows why."""


class Control:
    """One rank's end. All ranks call the same methods in the same order; EngineError if one of them has left."""

    def __init__(self, rank: int, ranks: int, links: Sequence[socket.socket], host: str = "127.0.0.1") -> None:
        """`links`: of rank 0, those to ranks 1, 2, …; of any other, the one to rank 0. `host`: where rank 0 is."""
        self.rank, self.ranks, self.host = rank, ranks, host
        self._links = links

    @classmethod
    def serve(cls, listener: socket.socket, meeting: Meeting, ranks: int, timeout: float) -> Self:
        """Rank 0: returns once all others have come."""
        found: dict[int, socket.socket] = {}
        until = time.monotonic() + timeout
        with listener:
            while len(found) < ranks - 1:
                listener.settimeout(max(0.001, until - time.monotonic()))
                try:
                    link, _ = listener.accept()
                except TimeoutError:
                    for link in found.values():
                        link.close()
                    missing = sorted(set(range(1, ranks)) - set(found))
                    raise EngineError(f"ranks {missing} did not come within {timeout:g} s") from None
                rank = _admitted(link, meeting.token, ranks)
                if rank is None:
                    link.close()
                else:
                    link.settimeout(timeout)
                    found[rank] = _ready(link)
        return cls(0, ranks, [found[rank] for rank in range(1, ranks)], meeting.host)

    @classmethod
    def join(cls, meeting: Meeting, rank: int, ranks: int, timeout: float) -> Self:
        """Any other rank."""
        try:
            link = socket.create_connection((meeting.host, meeting.port), timeout)
            link.sendall(_HELLO.pack(rank, meeting.token))
        except OSError as error:
            raise EngineError(
                f"rank {rank} cannot reach rank 0 at {meeting.host}:{meeting.port} ({error.strerror or error}); "
                "allow TCP between the hosts"
            ) from None
        link.settimeout(timeout)
        return cls(rank, ranks, [_ready(link)], meeting.host)

    def exchange(self, data: bytes) -> list[bytes]:
        """The data of every rank, on every rank, in rank order."""
        if self.ranks == 1:
            return [data]
        if self.rank:
            self._send(0, data)
            return _split(self._receive(0))
        parts = [data, *(self._receive(number) for number in range(self.ranks - 1))]
        whole = _join(parts)
        for number in range(self.ranks - 1):
            self._send(number, whole)
        return parts

    def gather(self, value: Any) -> list[Any]:
        """As `exchange`, of JSON values."""
        return [json.loads(part) for part in self.exchange(json.dumps(value).encode())]

    def barrier(self) -> None:
        """Returns once all ranks are here; who waits sleeps."""
        self.exchange(b"")

    def close(self) -> None:
        for link in self._links:
            with contextlib.suppress(OSError):
                link.close()

    def _send(self, number: int, data: bytes) -> None:
        try:
            self._links[number].sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            raise PeerLeft(f"{self._peer(number)} has left the benchmark") from None

    def _receive(self, number: int) -> bytes:
        link = self._links[number]
        try:
            (size,) = _LENGTH.unpack(_read(link, _LENGTH.size))
            if not 0 <= size <= _MOST:
                raise EngineError(f"{self._peer(number)} sent {size} bytes at once; at most {_MOST}")
            return _read(link, size)
        except TimeoutError:
            raise EngineError(f"{self._peer(number)} gave no sign of life for {link.gettimeout():g} s") from None
        except (EOFError, OSError):
            raise PeerLeft(f"{self._peer(number)} has left the benchmark") from None

    def _peer(self, number: int) -> str:
        return f"rank {number + 1 if self.rank == 0 else 0}"


def _admitted(link: socket.socket, token: bytes, ranks: int) -> int | None:
    """The rank that a new connection is of; None if it is a stranger's."""
    link.settimeout(_PATIENCE)
    try:
        rank, shown = _HELLO.unpack(_read(link, _HELLO.size))
    except (EOFError, OSError):
        return None
    return rank if hmac.compare_digest(shown, token) and 0 < rank < ranks else None


def _ready(link: socket.socket) -> socket.socket:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _read(link: socket.socket, size: int) -> bytes:
    parts, left = [], size
    while left:
        part = link.recv(min(left, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _join(parts: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def _split(whole: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(whole):
        (size,) = _LENGTH.unpack_from(whole, at)
        at += _LENGTH.size
        parts.append(whole[at : at + size])
        at += size
    return parts
