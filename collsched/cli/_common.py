"""What the verbs share: arguments, options, output, progress."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from collsched.errors import InputError, TopologyError

if TYPE_CHECKING:
    from rich.console import Console

    from collsched.collective import Collective
    from collsched.topology.model import Topology

Command = TypeVar("Command", bound=Callable[..., Any])

topology_argument = click.argument("topology", metavar="TOPO")
set_option = click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of a bundled topology, such as boxes=4; may be repeated.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
force_option = click.option("--force", is_flag=True, help="Replace an existing file that is not a plan.")


def collective_options(command: Command) -> Command:
    """-c, --root, --group, --shards and --matrix, passed on as `kind`, `root`, `group`, `shards` and `matrix`."""
    options = (
        click.option("-c", "--collective", "kind", default="allreduce", show_default=True, metavar="COLLECTIVE",
                     help="allreduce, allgather, reduce-scatter, broadcast, reduce, gather, scatter or all-to-all."),
        click.option("--root", metavar="RANK", help="Name or number of the root; the group's first rank by default."),
        click.option("--group", metavar="RANKS",
                     help="Ranks that take part, such as 0-7,12 or box0/gpu[0-3]; all by default. The others relay."),
        click.option("--shards", metavar="FILE", help="YAML file, rank name → relative size, for unequal shards."),
        click.option("--matrix", metavar="FILE",
                     help="YAML or CSV file, relative size for each pair of ranks, for an unequal all-to-all."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def size_callback(ctx: click.Context, parameter: click.Parameter, value: str) -> int:
    """A number of bytes, such as 256MiB; for `callback=` of an option."""
    from collsched.units import parse_size

    return parse_size(value)


def size_option(help: str) -> Callable[[Command], Command]:
    """--size BYTES, 256MiB unless given."""
    return click.option(
        "--size", default="256MiB", show_default=True, callback=size_callback, metavar="BYTES", help=help
    )


def is_given(option: str) -> bool:
    """Whether the user named an option of the command that runs."""
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """`--set` words as a mapping."""
    values: dict[str, str] = {}
    for word in settings:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value):
            raise InputError(f"--set {word!r}; expected NAME=VALUE, such as boxes=4")
        if name in values:
            raise InputError(f"--set gives {name!r} twice, {values[name]!r} and {value!r}; keep one")
        values[name] = value
    return values


def load_topology(spec: str, settings: tuple[str, ...]) -> Topology:
    """The topology that TOPO and `--set` mean."""
    from collsched.topology import resolve

    values = parse_settings(settings)
    try:
        return resolve(spec, values)
    except TopologyError:
        from collsched.plan import is_plan

        if is_plan(Path(spec)):
            raise InputError(
                f"{spec}: is a plan, and a topology is needed; name the file it was compiled from"
            ) from None
        raise


def load_collective(
    topology: Topology, kind: str, root: str | None, group: str | None, shards: str | None, matrix: str | None
) -> Collective:
    """The collective that the options of `collective_options` describe."""
    from collsched.collective import make_collective, read_shards
    from collsched.matrix import read_matrix

    sizes = None if shards is None else read_shards(shards)
    pairs = None if matrix is None else read_matrix(matrix)
    return make_collective(topology, kind, group=group, root=root, shards=sizes, matrix=pairs)


def algbw(weight: int, ratio: Fraction) -> float | None:
    """Bytes / time in GB/s of a collective of total shard weight at `ratio`; None where nothing moves."""
    return float(weight / ratio) if ratio else None


def number(value: Fraction) -> int | float:
    """A fraction as a JSON number: an integer where it is one."""
    return int(value) if value.denominator == 1 else float(value)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def console() -> Console:
    """Where results for people go: colours only on a terminal, and no line cut or wrapped where a program reads."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(highlight=False, emoji=False, markup=False, soft_wrap=not terminal, width=None if terminal else 100)


def peak_rss_bytes() -> int:
    """The largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Progress:
    """Names the stage at work on stderr, once a second has passed: in place on a terminal, else a line a stage."""

    PATIENCE = 1.0  # seconds

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._stage = ""
        self._shown = ""
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __call__(self, stage: str) -> None:
        """`stage` begins."""
        with self._lock:
            self._stage = stage

    def _tick(self) -> None:
        wait = self.PATIENCE
        while not self._done.wait(wait):
            wait = 0.1
            with self._lock:
                self._show()

    def _show(self) -> None:
        elapsed = time.monotonic() - self._start
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{self._stage} … {elapsed:.0f} s")
        elif self._stage != self._shown:
            sys.stderr.write(f"{self._stage} …\n")
        self._shown = self._stage
        sys.stderr.flush()

    def start(self) -> None:
        self._ticker.start()

    def stop(self) -> None:
        self._done.set()
        self._ticker.join()
        if self._shown and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def progress() -> Iterator[Progress]:
    """A `Progress` that shows itself while the block runs."""
    shown = Progress()
    shown.start()
    try:
        yield shown
    finally:
        shown.stop()


def default_output(topology: Topology, kind: str, suffix: str) -> Path:
    """A file name in the current directory made from topology and collective."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in topology.name).strip("-.") or "topology"
    return Path(f"{stem}-{kind}{suffix}")
