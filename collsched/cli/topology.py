"""`collsched topology`: what is bundled, a topology in its explicit form, and topologies from other tools' files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from collsched.cli._common import console, json_option, load_topology, print_json, set_option, topology_argument
from collsched.cli._import import import_command
from collsched.cli._probe import probe_command

if TYPE_CHECKING:
    from collsched.topology import Bundled, Topology
    from collsched.topology.parameters import Parameter


@click.group("topology")
def topology_group() -> None:
    """List, show, import and probe topologies."""


topology_group.add_command(import_command)
topology_group.add_command(probe_command)


@topology_group.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """The bundled topologies: ranks as they come, parameters with their defaults, and what each one is."""
    from collsched.topology import list_bundled

    found = list_bundled()
    if as_json:
        print_json({"topologies": [_bundled(entry) for entry in found]})
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("ranks", justify="right", no_wrap=True)
    table.add_column("parameters")
    table.add_column("what it is")
    for entry in found:
        parameters = " ".join(f"{parameter.name}={parameter.show(parameter.default)}" for parameter in entry.parameters)
        table.add_row(entry.name, str(entry.ranks), parameters, entry.description)
    out = console()
    out.print(table)
    out.print("\nSet a parameter with --set, for example:  collsched topology show dgx-a100 --set boxes=4")


@topology_group.command("show")
@topology_argument
@set_option
@json_option
def show_command(topology: str, settings: tuple[str, ...], as_json: bool) -> None:
    """A topology in the explicit form, as YAML that can be edited and compiled."""
    from collsched.topology import dump_yaml

    found = load_topology(topology, settings)
    if as_json:
        print_json(_topology(found))
    else:
        sys.stdout.writelines(dump_yaml(found).splitlines(keepends=True))  # in pieces: the reader may leave early


def _bundled(entry: Bundled) -> dict[str, Any]:
    return {
        "name": entry.name,
        "description": entry.description,
        "ranks": entry.ranks,
        "parameters": [_parameter(parameter) for parameter in entry.parameters],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    low, high = parameter.minimum, parameter.maximum
    return {
        "name": parameter.name,
        "kind": parameter.kind,
        "default": parameter.show(parameter.default),
        "min": None if low is None else parameter.show(low),
        "max": None if high is None else parameter.show(high),
        "about": parameter.about,
    }


def _topology(topology: Topology) -> dict[str, Any]:
    """Nodes and links as in the explicit form; bandwidths in GB/s and latencies in µs, as exact text."""
    from collsched.units import exact

    names = [node.name for node in topology.nodes]
    return {
        "name": topology.name,
        "ranks": len(topology.ranks),
        "nodes": [
            {
                "name": node.name,
                "kind": node.kind,
                "host": node.host,
                "rail": node.rail,
                "plane": node.plane,
                "multicast": node.multicast,
                "reduce": node.reduce,
            }
            for node in topology.nodes
        ],
        "links": [
            {
                "src": names[link.src],
                "dst": names[link.dst],
                "bandwidth": exact(link.bandwidth),
                "latency": exact(link.alpha),
            }
            for link in topology.links
        ],
    }
