"""The bundled topologies, and the rule by which a TOPO argument is a file or one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from collsched.errors import TopologyError
from collsched.topology.document import Source, read_text
from collsched.topology.model import Topology
from collsched.topology.parameters import Parameter
from collsched.topology.reader import load_topology, read_header, read_topology
from collsched.units import suggest


@dataclass(frozen=True, slots=True)
class Bundled:
    """A bundled topology as `topology list` shows it; `ranks` for the default parameters."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    ranks: int


def bundled_names() -> tuple[str, ...]:
    """The names of all bundled topologies, sorted."""
    return tuple(sorted(path.stem for path in directory().glob("*.yaml")))


def bundled(name: str, **params: object) -> Topology:
    """A bundled topology by its name, such as `bundled("dgx-a100", boxes=4)`. Raises TopologyError."""
    text, source = _read(name)
    return read_topology(text, source, params)


def list_bundled() -> tuple[Bundled, ...]:
    """Every bundled topology with its parameters, sorted by name."""
    found = []
    for name in bundled_names():
        text, source = _read(name)
        _, description, parameters = read_header(text, source)
        found.append(Bundled(name, description, tuple(parameters.values()), len(read_topology(text, source, {}).ranks)))
    return tuple(found)


def resolve(spec: str, params: Mapping[str, object] | None = None) -> Topology:
    """The topology that TOPO means: a file if it has a slash or a suffix, else a bundled name. Raises TopologyError."""
    if "/" in spec or "\\" in spec or Path(spec).suffix:
        return load_topology(spec, params)
    return bundled(spec, **dict(params or {}))


def _read(name: str) -> tuple[str, Source]:
    if name not in (known := bundled_names()):
        hint = suggest(name, known) or "write ./name.yaml for a file"
        raise TopologyError(f"{name}: no bundled topology has this name; allowed are {', '.join(known)}; {hint}")
    source = Source(f"{name}.yaml")
    return read_text(directory() / source.name, source), source


def directory() -> Path:
    """Where the files are: installed package data, or the source tree that an editable install points to."""
    package = Path(__file__).parents[1]
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "topologies"
