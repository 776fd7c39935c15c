"""Topologies from what machines and tools already write; one module a format, recognised by content."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from collsched.errors import InputError, TopologyError
from collsched.topology.document import Source, read_text
from collsched.topology.importers import graphml, hwloc, ibnet, nccl, nodelink, rocm, slurm, smi, topograph
from collsched.topology.importers.combine import combine, write
from collsched.topology.importers.draft import EXAMPLES, MAX_HOSTS, Fabric, Host, Request
from collsched.topology.model import Topology
from collsched.topology.reader import read_topology

__all__ = ["Imported", "import_topology", "recognise"]

Reader = Callable[[str, Source, Request], Host | Fabric]


@dataclass(frozen=True, slots=True)
class Format:
    """A format, the pattern by which its files are known, and whether it describes a fabric rather than a host."""

    name: str
    pattern: re.Pattern[str]
    read: Reader
    fabric: bool = False


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.MULTILINE | re.ASCII)


FORMATS = (
    Format("NCCL or RCCL topology XML", _pattern(r"<(system|graphs)[\s>/]"), nccl.read),
    Format("GraphML", _pattern(r"<(\w+:)?graphml[\s>]"), graphml.read),
    Format("hwloc XML", _pattern(r"<topology[\s>][^<]*<object\b"), hwloc.read),
    Format("node-link JSON", _pattern(r'\A\s*\{[^\0]*"nodes"\s*:'), nodelink.read),
    Format("nvidia-smi topo -m", _pattern(r"^\s*(\x1b\[\dm)?\s*GPU0\b[^|\n]*\n(.*\n)?GPU0\s+X\b"), smi.read),
    Format("rocm-smi --showtopo", _pattern(r"^=+ ?(Link Type|Weight|Hops) between two GPUs ?=+"), rocm.read),
    Format("ibnetdiscover", _pattern(r'^(Switch|Ca)\s+\d+\s+"[SH]-'), ibnet.read, fabric=True),
    Format("SLURM topology.conf", _pattern(r"^\s*(SwitchName|BlockName)\s*="), slurm.read, fabric=True),
    Format("topograph YAML", _pattern(r"^(switches|blocks):\s*(#.*)?$"), topograph.read, fabric=True),
)


@dataclass(frozen=True, slots=True)
class Imported:
    """A topology, its YAML text with the source of each number, and the format of each file."""

    topology: Topology
    text: str
    formats: tuple[str, ...]


def recognise(text: str, name: str) -> Format:
    """The format of a file by its content. Raises TopologyError."""
    head = text[:1_000_000]
    for format in FORMATS:
        if format.pattern.search(head):
            return format
    known = ", ".join(format.name for format in FORMATS)
    raise TopologyError(f"{name}: not a format that can be imported; allowed are {known}; check that it is whole")


def import_topology(
    files: tuple[str, ...] | list[str],
    *,
    rates: Literal["nominal", "runtime"] = "nominal",
    hosts: int | None = None,
    given: Mapping[str, str] | None = None,
    name: str | None = None,
    only_hosts: str | None = None,
    command: str = "",
    found: tuple[str, ...] = (),
) -> Imported:
    """One topology from a host's file, a fabric's file, or both.

    `hosts`: copies of the host, or how many of the fabric's. `given`: answers to what files cannot tell, by the names
    of the command's options, such as {"nvlinks": "12", "nvlink-rate": "25"}. `only_hosts`: a pattern of host names.
    `command`: what a message asks to repeat with the missing options, where the files are not the user's; `found` are
    the options in `given` that it need not repeat.
    Raises InputError, TopologyError; where options are missing, the text names all of them.
    """
    _check(given or {}, hosts)
    texts = [(Source(file), read_text(Path(file), Source(file))) for file in files]
    formats = [recognise(text, source.name) for source, text in texts]
    if not files or len({format.fabric for format in formats}) < len(formats):
        raise InputError("import needs one file of a host, one of a fabric, or one of each; give no two of a kind")
    networked = any(format.fabric for format in formats) or (hosts or 1) > 1
    request = Request(rates, dict(given or {}), networked, command=command, found=found)
    host: Host | None = None
    fabric: Fabric | None = None
    for (source, text), format in zip(texts, formats, strict=True):
        draft = format.read(text, Source(Path(source.name).name), request)
        if isinstance(draft, Fabric):
            fabric = draft
        else:
            host = draft
    if fabric is not None:
        _choose(fabric, only_hosts)
    whole = None if request.missing and host is not None else combine(host, fabric, hosts, request)
    shown = tuple(Path(file).name if command else file for file in files)
    request.finish(shown)
    assert whole is not None
    title = name or "-".join(Path(file).stem for file in files)
    text = write(whole, title, tuple(Path(file).name for file in files), rates)
    topology = read_topology(text, Source(f"{' + '.join(shown)}, imported"), {})
    return Imported(topology, text, tuple(format.name for format in formats))


def _check(given: Mapping[str, str], hosts: int | None) -> None:
    choices = {
        "classless": ("gpu", "nic", "other"),
        "fabric": ("switch", "rails"),
        "nvlink-shape": ("switch", "mesh"),
        "unnamed": ("leave-out",),
    }
    for option, value in given.items():
        if option not in EXAMPLES:
            raise InputError(f"{option!r} is no option of import; allowed are {', '.join(EXAMPLES)}; correct it")
        if option in choices and value not in choices[option]:
            raise InputError(f"--{option} {value!r}; allowed are {', '.join(choices[option])}; choose one")
    if hosts is not None and not 1 <= hosts <= MAX_HOSTS:
        raise InputError(f"--hosts {hosts}; allowed is 1 to {MAX_HOSTS}; correct it")


def _choose(fabric: Fabric, only: str | None) -> None:
    if only is not None:
        fabric.hosts = {name: ports for name, ports in fabric.hosts.items() if fnmatch.fnmatchcase(name, only)}
    if not fabric.hosts:
        found = "no host in the fabric" + (f" matches --only-hosts {only!r}" if only is not None else "")
        raise InputError(f"{found}; allowed is one or more; check the file and the pattern")
