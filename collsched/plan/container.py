"""The plan file as a container: one JSON header, then arrays of non-negative integers. Nothing in it is executed.

    offset  size  content
    0       8     magic
    8       4     version, little endian like all numbers here
    12      4     bytes of the packed header
    16      4     bytes of the header when unpacked
    20      8     bytes of the whole file
    28      32    SHA-256 of all that follows
    60      …     header: JSON, zlib
    …       …     sections, one after the other: byte planes of an array, zlib

The header lists the sections: name, width (bytes an entry), count (entries), stored (bytes in the file). Sizes are
compared with the file's length and with fixed limits before memory is taken, and unpacking stops at the declared size.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collsched.errors import PlanError
from collsched.files import whole_file

MAGIC = b"\x89CSPLAN\n"
VERSION = 2
_PREFIX = struct.Struct("<8sIIIQ32s")
_MAX_HEADER = 1 << 26  # bytes of JSON
_MAX_FILE = 1 << 31  # bytes
_MAX_ENTRIES = 1 << 28  # of all sections, 8 bytes each once unpacked
_DEFLATE = 1032  # zlib never packs more than this many bytes into one
_AGAIN = "compile the plan again, or copy the file again from where it was made"

Arrays = Mapping[str, NDArray[np.integer[Any]]]


def write(path: Path, header: Mapping[str, Any], arrays: Arrays, *, force: bool) -> None:
    """Write header and arrays (one-dimensional, entries in 0 … 2^63 − 1) to `path`, beside it first.

    Raises PlanError if `path` exists and is not a plan (unless `force`), InputError if it cannot be written.
    """
    packed = [_pack(array) for array in arrays.values()]
    sections = [
        {"name": name, "width": width, "count": len(array), "stored": len(data)}
        for (name, array), (width, data) in zip(arrays.items(), packed, strict=True)
    ]
    text = json.dumps({**header, "sections": sections}, separators=(",", ":"), allow_nan=False).encode()
    body = [zlib.compress(text, 6), *(data for _, data in packed)]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    size = _PREFIX.size + sum(map(len, body))
    prefix = _PREFIX.pack(MAGIC, VERSION, len(body[0]), len(text), size, digest.digest())
    check_target(path, force=force)
    with whole_file(path, force=True) as beside, beside.open("xb") as file:
        file.writelines([prefix, *body])


def check_target(path: Path, *, force: bool = False) -> None:
    """Raises PlanError if a plan cannot be written to `path`: it exists and is no plan (unless `force`), is a
    directory, or is in none."""
    if path.is_dir():
        raise PlanError(f"{path}: is a directory; name a file in it with -o")
    if not path.parent.is_dir():
        raise PlanError(f"{path}: there is no directory {path.parent}; make it first, or choose another place with -o")
    try:
        blocked = not force and path.exists() and not is_plan(path)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}; choose another place with -o") from None
    if blocked:
        raise PlanError(f"{path}: exists and is not a plan; choose another name, or pass --force to replace it")


def is_plan(path: Path) -> bool:
    """Whether a file starts as a plan does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """The header and the arrays of a plan file. Raises PlanError for whatever `write` cannot have written."""
    prefix, content = _read_checked(path)
    body = memoryview(content)
    text = _unpack(path, "header", body[: prefix.header_stored], prefix.header_size)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise PlanError(f"{path}: the header is not JSON; {_AGAIN}") from None
    if not isinstance(header, dict) or not isinstance(header.get("sections"), list):
        raise PlanError(f"{path}: the header is not an object with a list of sections; {_AGAIN}")
    return header, _read_sections(path, header.pop("sections"), body[prefix.header_stored :])


class _Prefix(NamedTuple):
    magic: bytes
    version: int
    header_stored: int
    header_size: int
    file_size: int
    checksum: bytes


def _read_checked(path: Path) -> tuple[_Prefix, bytes]:
    """The prefix and all that follows: read once the prefix is known to fit the file, and equal to its checksum."""
    try:
        if path.exists() and not path.is_file():
            raise PlanError(f"{path}: not a file; name a plan that `collsched compile` wrote")
        with path.open("rb") as file:
            prefix = _check_prefix(path, file.read(_PREFIX.size), os.fstat(file.fileno()).st_size)
            content = file.read(prefix.file_size - _PREFIX.size)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise PlanError(f"{path}: {what}; name a plan that `collsched compile` wrote") from None
    if hashlib.sha256(content).digest() != prefix.checksum:
        raise PlanError(f"{path}: damaged: the content does not match its checksum; {_AGAIN}")
    return prefix, content


def _check_prefix(path: Path, data: bytes, length: int) -> _Prefix:
    """The first bytes of a file of that length, if what they declare can be."""
    if not data.startswith(MAGIC):
        found = "is empty" if not data else f"starts with {data[:8]!r}"
        raise PlanError(f"{path}: not a plan file: it {found}; name a file that `collsched compile` wrote")
    if len(data) < _PREFIX.size:
        raise PlanError(f"{path}: cut off after {len(data)} bytes, within the first {_PREFIX.size}; {_AGAIN}")
    prefix = _Prefix(*_PREFIX.unpack(data))
    if prefix.version != VERSION:
        raise PlanError(
            f"{path}: plan format {prefix.version}, and this collsched reads format {VERSION}; "
            "compile the plan again, or use the collsched that wrote it"
        )
    if prefix.file_size != length:
        what = "cut off" if prefix.file_size > length else "has extra bytes at its end"
        raise PlanError(f"{path}: {what}: {length} bytes where {prefix.file_size} are declared; {_AGAIN}")
    if length > _MAX_FILE:
        raise PlanError(f"{path}: {length} bytes, and a plan has at most {_MAX_FILE}; {_AGAIN}")
    stored, size = prefix.header_stored, prefix.header_size
    if size > min(_MAX_HEADER, _DEFLATE * stored) or stored > length - _PREFIX.size:
        raise PlanError(f"{path}: a header of {size} bytes packed in {stored} cannot be; {_AGAIN}")
    return prefix


def _read_sections(path: Path, sections: list[Any], body: memoryview) -> dict[str, NDArray[np.int64]]:
    arrays: dict[str, NDArray[np.int64]] = {}
    for i, section in enumerate(sections):
        _check_section(path, f"$.sections[{i}]", section)
        if section["name"] in arrays:
            raise PlanError(f"{path}: section {section['name']!r} occurs twice; {_AGAIN}")
        arrays[section["name"]] = np.empty(0, np.int64)
    stored, unpacked = sum(s["stored"] for s in sections), sum(s["count"] * s["width"] for s in sections)
    if stored != len(body):
        raise PlanError(f"{path}: sections of {stored} bytes are declared where {len(body)} are left; {_AGAIN}")
    if sum(s["count"] for s in sections) > _MAX_ENTRIES:
        raise PlanError(f"{path}: a plan has at most {_MAX_ENTRIES} entries in its sections; {_AGAIN}")
    if unpacked > _DEFLATE * stored:
        raise PlanError(f"{path}: sections of {unpacked} bytes packed in {stored} cannot be; {_AGAIN}")
    start = 0
    for section in sections:
        width, count, end = section["width"], section["count"], start + section["stored"]
        planes = _unpack(path, f"section {section['name']!r}", body[start:end], width * count)
        wide = np.zeros((count, 8), np.uint8)
        wide[:, :width] = np.frombuffer(planes, np.uint8).reshape(width, count).T
        array = wide.reshape(-1).view("<i8").astype(np.int64, copy=False)
        if count and array.min() < 0:
            raise PlanError(f"{path}: section {section['name']!r} holds a number above 2^63 - 1; {_AGAIN}")
        arrays[section["name"]], start = array, end
    return arrays


def _check_section(path: Path, where: str, section: Any) -> None:
    if not isinstance(section, dict) or set(section) != {"name", "width", "count", "stored"}:
        raise PlanError(f"{path}: expected name, width, count and stored - at {where}; {_AGAIN}")
    if not isinstance(section["name"], str):
        raise PlanError(f"{path}: expected a text - at {where}.name; {_AGAIN}")
    for key, low, high in (("width", 1, 8), ("count", 0, _MAX_ENTRIES), ("stored", 0, _MAX_FILE)):
        value = section[key]
        if type(value) is not int or not low <= value <= high:
            raise PlanError(
                f"{path}: expected a number in {low} … {high}, got {value!r:.40} - at {where}.{key}; {_AGAIN}"
            )


def _pack(array: NDArray[np.integer[Any]]) -> tuple[int, bytes]:
    """Bytes an entry and the packed byte planes: the high bytes of small numbers vanish, equal neighbours pack well."""
    largest = int(array.max(initial=0))
    width = max(1, (largest.bit_length() + 7) // 8)
    planes = array.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width].T
    return width, zlib.compress(planes.tobytes(), 1)


def _unpack(path: Path, what: str, data: memoryview, size: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        unpacked = inflate.decompress(data, size + 1)
    except zlib.error:
        raise PlanError(f"{path}: the {what} is not packed data; {_AGAIN}") from None
    if len(unpacked) != size or not inflate.eof or inflate.unused_data:
        raise PlanError(f"{path}: the {what} does not unpack to the {size} bytes declared; {_AGAIN}")
    return unpacked
