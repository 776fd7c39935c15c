"""The collective algorithms that an MPI library lets a running process choose, by way of MPI's tools interface.

    Open MPI   coll_tuned_use_dynamic_rules and coll_tuned_<collective>_algorithm; a communicator keeps what it finds
               when it is made
    MPICH      MPIR_CVAR_<COLLECTIVE>_INTRA_ALGORITHM, with MPIR_CVAR_<COLLECTIVE>_DEVICE_COLLECTIVE off so that it
               counts; read at every call. Its values are numbered in the order in which their description lists them

(MPI 4.1, section 15.3.) Other libraries can be set from the environment alone, which the provenance records.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collsched.bench.sides import DEFAULT
from collsched.collective import Kind

_THREAD_SINGLE = 0
_TEXT = 1 << 14
_OPEN_MPI = {
    Kind.ALLREDUCE: "allreduce", Kind.ALLGATHER: "allgather", Kind.REDUCE_SCATTER: "reduce_scatter_block",
    Kind.BROADCAST: "bcast", Kind.REDUCE: "reduce", Kind.GATHER: "gather", Kind.SCATTER: "scatter",
    Kind.ALL_TO_ALL: "alltoall",
}  # fmt: skip
_NEVER = {
    "ignore",
    "auto",
    "nb",
    "gentran",
    "ccl",
    "noncommutative",
}  # another name of the default, or not for these calls


@dataclass(frozen=True)
class Tool:
    """`settings`: name → the values to write, of control variables by index. `at_call`: they count at every call, not
    when a communicator is made."""

    settings: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    at_call: bool = False
    _interface: Interface | None = None
    _before: Mapping[int, int] = field(default_factory=dict)

    def choose(self, setting: str) -> None:
        """Of all calls, or of communicators made from here on."""
        if self._interface is not None:
            for index, value in ({**self._before, **self.settings.get(setting, {})}).items():
                self._interface.write(index, value)


def open_tool(vendor: str, kind: Kind, ranks: int) -> Tool:
    """What can be chosen for a collective in this library; nothing where it has no such interface."""
    path = next(_loaded("libmpi"), None)
    try:
        interface = Interface(ctypes.CDLL(path)) if path else None
    except (OSError, AttributeError):
        interface = None
    if interface is None:
        return Tool()
    if vendor == "Open MPI":
        settings = _open_mpi(interface, _OPEN_MPI[kind])
    elif vendor == "MPICH":
        settings = _mpich(interface, _OPEN_MPI[kind].upper())
    else:
        settings = {}
    if ranks != 2:
        settings = {name: values for name, values in settings.items() if "two_proc" not in name}
    indices = {index for values in settings.values() for index in values}
    before = {index: interface.read(index) for index in indices}
    return Tool(settings, vendor == "MPICH", interface, before)


def _open_mpi(interface: Interface, name: str) -> dict[str, dict[int, int]]:
    switch, choice = (interface.find(f"coll_tuned_{word}") for word in ("use_dynamic_rules", f"{name}_algorithm"))
    if switch is None or choice is None:
        return {}
    values = interface.values(choice)
    return {text: {switch: 1, choice: value} for value, text in values.items() if text not in _NEVER}


def _mpich(interface: Interface, name: str) -> dict[str, dict[int, int]]:
    device, choice = (interface.find(f"MPIR_CVAR_{name}_{word}") for word in ("DEVICE_COLLECTIVE", "INTRA_ALGORITHM"))
    if device is None or choice is None:
        return {}
    texts = re.findall(r"^\s*(\w+)\s+- ", interface.description(choice), re.MULTILINE)
    return {text: {device: 0, choice: value} for value, text in enumerate(texts) if text not in _NEVER}


class Interface:
    """MPI_T control variables of one integer each."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises AttributeError if the library lacks the interface, OSError if it does not start."""
        self._library = library
        self._handles: dict[int, ctypes.c_void_p] = {}
        provided = ctypes.c_int()
        self._call("MPI_T_init_thread", ctypes.c_int(_THREAD_SINGLE), ctypes.byref(provided))

    def find(self, name: str) -> int | None:
        """The index of a variable."""
        index = ctypes.c_int()
        found = self._library.MPI_T_cvar_get_index(name.encode(), ctypes.byref(index))
        return index.value if found == 0 else None

    def description(self, index: int) -> str:
        return self._info(index)[0]

    def values(self, index: int) -> dict[int, str]:
        """Of a variable with named values, number → name."""
        kind = self._info(index)[1]
        if not kind.value:
            return {}
        count, size = ctypes.c_int(), ctypes.c_int(_TEXT)
        text = ctypes.create_string_buffer(_TEXT)
        self._call("MPI_T_enum_get_info", kind, ctypes.byref(count), text, ctypes.byref(size))
        found = {}
        for item in range(count.value):
            value, size = ctypes.c_int(), ctypes.c_int(_TEXT)
            self._call("MPI_T_enum_get_item", kind, item, ctypes.byref(value), text, ctypes.byref(size))
            found[value.value] = text.value.decode()
        return found

    def read(self, index: int) -> int:
        value = ctypes.c_longlong()  # room for any integer type
        self._call("MPI_T_cvar_read", self._handle(index), ctypes.byref(value))
        return ctypes.c_int.from_buffer(value).value

    def write(self, index: int, value: int) -> None:
        room = ctypes.c_longlong()
        ctypes.c_int.from_buffer(room).value = value
        self._call("MPI_T_cvar_write", self._handle(index), ctypes.byref(room))

    def _handle(self, index: int) -> ctypes.c_void_p:
        if index not in self._handles:
            handle, count = ctypes.c_void_p(), ctypes.c_int()
            self._call("MPI_T_cvar_handle_alloc", index, None, ctypes.byref(handle), ctypes.byref(count))
            self._handles[index] = handle
        return self._handles[index]

    def _info(self, index: int) -> tuple[str, ctypes.c_void_p]:
        """Description and enumeration."""
        name, text = ctypes.create_string_buffer(_TEXT), ctypes.create_string_buffer(_TEXT)
        sizes = [ctypes.c_int(_TEXT), ctypes.c_int(_TEXT)]
        verbosity, bind, scope = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        element, kind = ctypes.c_void_p(), ctypes.c_void_p()
        references: Sequence[object] = [ctypes.byref(part) for part in (verbosity, element, kind)]
        self._call(
            "MPI_T_cvar_get_info", index, name, ctypes.byref(sizes[0]), *references, text, ctypes.byref(sizes[1]),
            ctypes.byref(bind), ctypes.byref(scope),
        )  # fmt: skip
        return text.value.decode(errors="replace"), kind

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise OSError(f"{name} failed with code {code}")


def _loaded(stem: str) -> Iterator[str]:
    """Shared libraries of this process whose file is called like that."""
    paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    yield from sorted(
        path for path in paths if re.fullmatch(rf"{stem}\.so[.\d]*|{stem}_abi\.so[.\d]*", Path(path).name)
    )


__all__ = ["DEFAULT", "Interface", "Tool", "open_tool"]
