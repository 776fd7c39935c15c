"""Files that hand a routing over to what can pin paths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from collsched.errors import InputError
from collsched.routes import pinning
from collsched.routes.model import Subflows
from collsched.routes.network import Network
from collsched.topology.model import Topology

KINDS = {"roce": ".roce.json", "srv6": ".srv6.json", "ip": ".sh"}


def read_book(path: str | None, topology: Topology) -> pinning.Book:
    """Addresses by node name from a JSON file; none without a file. Raises InputError."""
    if path is None:
        return pinning.Book({})
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise InputError(f"{path}: cannot be read: {reason}; allowed is an object, node name → address") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: not an object; allowed is node name → address")
    try:
        return pinning.Book.of(value, [node.name for node in topology.nodes])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def pin_file(routes: Path, kind: str) -> Path:
    """Where the hand-over of a routes file goes: beside it."""
    return routes.with_suffix(KINDS[kind])


def pin_texts(
    phases: Sequence[tuple[Network, Subflows]], kind: str, book: pinning.Book, hash_name: str | None
) -> Iterator[str]:
    """The hand-over, for subflows numbered as in the routes file."""
    chosen = list(_numbered(phases))
    if kind == "ip":
        yield from pinning.policy_script(chosen, book)
        return
    comma = "[\n"
    for pin in chosen:
        if kind == "roce":
            entry = pinning.roce_entry(pin, book, pinning.HASHES[hash_name] if hash_name else None)
        else:
            segments = [str(address) for address in pinning.segment_list(pin, book)]
            entry = {"subflow": pin.subflow, "src": pin.src, "dst": pin.dst, "segments": segments}
        yield comma + json.dumps(entry, ensure_ascii=False)
        comma = ",\n"
    yield "\n]\n" if chosen else "[]\n"


def _numbered(phases: Sequence[tuple[Network, Subflows]]) -> Iterator[pinning.Pin]:
    first = 0
    for network, subflows in phases:
        for pin in pinning.pins(network, subflows):
            yield pinning.Pin(first + pin.subflow, pin.src, pin.dst, pin.switches, pin.path, pin.paths)
        first += len(subflows)
