"""Files of flows and of routes.

flows    [{"src": "rank0", "dst": 3, "bytes": 1048576}, …], or CSV with the header src,dst,bytes
routes   {"collsched": "routes/1", …, "subflows": [{"flow", "src", "dst", "offset", "bytes", "path": [names]}, …]}
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from collsched.errors import InputError
from collsched.files import write_whole
from collsched.routes.algorithms import MOST_FLOWS
from collsched.routes.model import Flows, PathTable, Subflows
from collsched.topology.model import Topology
from collsched.topology.names import RankNames
from collsched.units import MAX_SIZE, parse_size

VERSION = "routes/1"
MOST_BYTES = 1 << 31  # of a file
_HEAD = f'{{"collsched": "{VERSION}"'
_KEYS = ("src", "dst", "bytes")


def read_flows(path: str | Path, topology: Topology) -> Flows:
    """Flows from a JSON or CSV file. Raises InputError with the place."""
    path = Path(path)
    text = _read(path)
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _json_rows(path, text)
    names = RankNames.of(topology)
    src, dst, sizes = list[int](), list[int](), list[int]()
    for place, row in rows:
        if len(src) == MOST_FLOWS:
            raise InputError(f"{path}: more than {MOST_FLOWS:,} flows; allowed are that many; plan them in parts")
        try:
            ends = [_rank(names, row, key) for key in ("src", "dst")]
            size = _size(row["bytes"])
        except InputError as error:
            raise InputError(f"{path}: {place}: {error}") from None
        if ends[0] == ends[1]:
            raise InputError(f"{path}: {place}: a flow from {row['src']!r} to itself; allowed are two ranks; remove it")
        src.append(ends[0])
        dst.append(ends[1])
        sizes.append(size)
    return Flows(np.array(src, np.int32), np.array(dst, np.int32), np.array(sizes, np.int64))


def _rank(names: RankNames, row: Mapping[str, Any], key: str) -> int:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{key} is {value!r}; allowed is a rank's name or number; write for example 0")
    return names.number(value)


def _size(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SIZE:
        raise InputError(f"bytes is {value!r}; allowed is a whole number from 0 to {MAX_SIZE}; round it")
    return value


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file; name a JSON or CSV file")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: larger than {MOST_BYTES} bytes; allowed is that much; split the file")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path}: cannot be read: {reason}; name a JSON or CSV file") from None


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}{line}: not JSON; allowed is a list of objects with src, dst and bytes") from None


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    value = _json(path, text)
    if isinstance(value, dict):
        value = value.get("flows")
    if not isinstance(value, list):
        raise InputError(
            f"{path}: not a list of flows; allowed is [{{src, dst, bytes}}, …]; wrap the flows in brackets"
        )
    for number, row in enumerate(value):
        if not isinstance(row, dict) or sorted(row) != sorted(_KEYS):
            found = ", ".join(map(str, row)) if isinstance(row, dict) else repr(row)
            raise InputError(f"{path}: flow {number} has {found}; allowed are exactly src, dst and bytes")
        yield f"flow {number}", row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text))
    header = [word.strip() for word in next(reader, [])]
    if sorted(header) != sorted(_KEYS):
        raise InputError(
            f"{path}:1: the header is {','.join(header)!r}; allowed is src,dst,bytes; add it as the first line"
        )
    for row in reader:
        if len(row) != len(_KEYS):
            if row:
                raise InputError(f"{path}:{reader.line_num}: {len(row)} values; allowed are 3; write src,dst,bytes")
            continue
        yield f"line {reader.line_num}", dict(zip(header, (word.strip() for word in row), strict=True))


@dataclass(frozen=True, slots=True)
class Routed:
    """A routing as its file has it: subflow i takes the nodes paths[path[i]], ends included (node ids)."""

    flows: Flows  # as the subflows make them up; a flow that was partly sent has its full length
    subflows: Subflows  # path: into `paths`
    paths: tuple[tuple[int, ...], ...]
    phase: np.ndarray  # [flows]


def routes_lines(
    topology: Topology, header: Mapping[str, Any], phases: Sequence[tuple[PathTable, Flows, Subflows]]
) -> Iterator[str]:
    """The text of a routes file, piece by piece. Flow numbers go on from phase to phase."""
    yield _HEAD + "".join(f", {json.dumps(key)}: {json.dumps(value)}" for key, value in header.items())
    yield ', "subflows": ['
    names = [json.dumps(node.name, ensure_ascii=False) for node in topology.nodes]
    ranks = [names[node] for node in topology.ranks]
    first, comma = 0, "\n"
    for paths, flows, subflows in phases:
        used = np.unique(subflows.path).tolist()
        through = {path: "".join(f"{names[node]}, " for node in paths.interior(path)) for path in used}
        columns = (
            subflows.flow,
            flows.src[subflows.flow],
            flows.dst[subflows.flow],
            subflows.offset,
            subflows.bytes,
            subflows.path,
        )
        lines = []
        for flow, src, dst, offset, size, path in zip(*(column.tolist() for column in columns), strict=True):
            a, b = ranks[src], ranks[dst]
            lines.append(
                f'{comma}{{"flow": {flow + first}, "src": {a}, "dst": {b}, "offset": {offset}, "bytes": {size}, '
                f'"path": [{a}, {through[path]}{b}]}}'
            )
            comma = ",\n"
        yield "".join(lines)
        first += len(flows)
    yield "\n]}\n"


def check_target(path: Path, *, force: bool) -> None:
    """Raises InputError if routes cannot be written to `path`: it exists and holds none (unless `force`)."""
    if path.is_dir():
        raise InputError(f"{path}: is a directory; name a file in it with -o")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}; make it first, or choose another place with -o")
    if force or not path.exists():
        return
    try:
        with path.open("rb") as file:
            ours = file.read(len(_HEAD)) == _HEAD.encode()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; choose another place with -o") from None
    if not ours:
        raise InputError(f"{path}: exists and holds no routes; choose another name, or pass --force to replace it")


def write_text(path: Path, parts: Iterable[str], *, force: bool) -> None:
    """Write the parts to `path`, whole or not at all. Raises InputError."""
    check_target(path, force=force)
    write_whole(path, parts)


def read_routes(path: str | Path, topology: Topology) -> Routed:
    """Routes that an earlier run wrote for this topology. Raises InputError with the subflow."""
    path = Path(path)
    value = _json(path, _read(path))
    if not isinstance(value, dict) or value.get("collsched") != VERSION or not isinstance(value.get("subflows"), list):
        raise InputError(f"{path}: not a file of routes; allowed is what `collsched route` wrote; plan again")
    node_of = {node.name: number for number, node in enumerate(topology.nodes)}
    paths: dict[tuple[int, ...], int] = {}
    rows = list[tuple[int, int, int, int, int, int]]()
    for number, entry in enumerate(value["subflows"]):
        try:
            flow, offset, size = (_whole(entry[key]) for key in ("flow", "offset", "bytes"))
            nodes = tuple(node_of[name] for name in entry["path"])
            src, dst = topology.rank_of[nodes[0]], topology.rank_of[nodes[-1]]
        except (KeyError, TypeError, IndexError, ValueError):
            raise InputError(
                f"{path}: subflow {number} is not one of {topology.name}; allowed are flow, offset, bytes as whole "
                "numbers and path as names of its nodes, from rank to rank; plan again"
            ) from None
        rows.append((flow, src, dst, offset, size, paths.setdefault(nodes, len(paths))))
    return _gather(path, rows, tuple(paths), value.get("phases"))


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SIZE:
        raise ValueError
    return value


def _gather(path: Path, rows: Sequence[tuple[int, ...]], paths: tuple[tuple[int, ...], ...], phases: object) -> Routed:
    table = np.array(rows, np.int64).reshape(-1, 6)
    flow = table[:, 0]
    count = int(flow.max(initial=-1)) + 1
    if len(np.unique(flow)) != count:
        raise InputError(f"{path}: flows are numbered with gaps; allowed is 0, 1, 2, …; plan again")
    src, dst, sizes = (np.zeros(count, np.int64) for _ in range(3))
    src[flow], dst[flow] = table[:, 1], table[:, 2]
    np.maximum.at(sizes, flow, table[:, 3] + table[:, 4])
    if (src[flow] != table[:, 1]).any() or (dst[flow] != table[:, 2]).any() or (src == dst).any():
        raise InputError(
            f"{path}: subflows of one flow differ in their ends; allowed is one source and one destination"
        )
    phase = np.zeros(count, np.int64)
    if isinstance(phases, list):
        try:
            ends = [_whole(entry["flows"]) for entry in phases]
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}: 'phases' is not a list of names and flows; plan again") from None
        if sum(ends) != count:
            raise InputError(f"{path}: 'phases' has {sum(ends)} flows and the subflows {count}; plan again")
        phase = np.repeat(np.arange(len(ends)), np.array(ends, np.int64))
    flows = Flows(src.astype(np.int32), dst.astype(np.int32), sizes)
    return Routed(flows, Subflows(flow, table[:, 3], table[:, 4], table[:, 5]), paths, phase)
