"""`collsched topology import`: topologies from what machines and tools already write."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from collsched.cli._common import Command, json_option, print_json
from collsched.files import write_whole

if TYPE_CHECKING:
    from collsched.topology.importers import Imported

# Option → metavar and help. What a file cannot tell is asked for by these names.
_ANSWERS = {
    "nvlinks": ("LINKS", "Links of each GPU to the NVSwitch; or of pairs, as 0-1:2,0-2:1; 0 for none."),
    "nvlink-shape": ("SHAPE", "Where nvidia-smi shows one number for all pairs: switch or mesh."),
    "nvlink-rate": ("RATE", "One NVLink or xGMI link, one direction; GB/s or with a unit, as all rates."),
    "pcie-rate": ("RATE", "PCIe links that the files give no rate for."),
    "cpu-rate": ("RATE", "Between two CPU sockets."),
    "classless": ("KIND", "What PCI devices without a class are: gpu, nic or other."),
    "gpus": ("N", "GPUs of a host, where its file has none."),
    "nics-per-gpu": ("N", "NICs that each GPU has to itself, where the host's file has none."),
    "nic-rate": ("RATE", "One NIC."),
    "fabric": ("SHAPE", "What joins --hosts without a fabric file: switch, or rails, one for each NIC."),
    "link-rate": ("RATE", "From a host to its switch."),
    "uplink-rate": ("RATE", "Between two switches."),
    "unnamed": ("WHAT", "HCAs whose description names no host: leave-out."),
}


def answers(command: Command) -> Command:
    """The options that answer what files cannot tell, passed on by their names."""
    for name, (metavar, text) in reversed(_ANSWERS.items()):
        command = click.option(f"--{name}", metavar=metavar, help=text)(command)
    return command


@click.command("import", short_help="A topology from what machines and tools already write.")
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option("--hosts", type=int, metavar="N", help="Copies of the host; or use the first N of the fabric's hosts.")
@click.option("--only-hosts", metavar="PATTERN", help="Hosts of the fabric to use, such as 'dgx-0*'.")
@click.option("--hosts-are-ranks", is_flag=True, help="Without a host's file: each host of the fabric is one rank.")
@click.option(
    "--rates",
    type=click.Choice(["nominal", "runtime"]),
    default="nominal",
    show_default=True,
    help="The vendors' rates of links that are only counted, or those that NCCL and RCCL assume.",
)
@answers
@click.option("--name", metavar="NAME", help="Name of the topology; the files' names by default.")
@click.option("-o", "--output", metavar="FILE", help="YAML file to write; standard output by default.")
@json_option
def import_command(
    files: tuple[str, ...], hosts: int | None, only_hosts: str | None, hosts_are_ranks: bool,
    rates: Literal["nominal", "runtime"], name: str | None, output: str | None, as_json: bool, **options: str | None,
) -> None:  # fmt: skip
    """Write a topology in the explicit form from FILE…: one of a host, one of a fabric, or one of each.

    The format is recognised by content. Each number carries its source in a comment; what the files do not tell is
    asked for by the names of the options below.

    \b
    collsched topology import topo.xml -o box.yaml
    collsched topology import topo.xml --hosts 4 --fabric rails -o four.yaml
    collsched topology import topo.xml topology.conf --uplink-rate 200 -o cluster.yaml
    """
    from collsched.topology.importers import import_topology

    given = {option.replace("_", "-"): value for option, value in options.items() if value is not None}
    if hosts_are_ranks:
        given["hosts-are-ranks"] = ""
    found = import_topology(files, rates=rates, hosts=hosts, given=given, name=name, only_hosts=only_hosts)
    deliver(found, rates, output, as_json=as_json)


def deliver(found: Imported, rates: str, output: str | None, *, as_json: bool, more: Mapping[str, Any] = {}) -> None:
    """The YAML text to a file or standard output, and what there is to say of it, with `more`, as JSON."""
    if output is not None:
        write_whole(Path(output), [found.text])
    if as_json:
        topology = found.topology
        print_json(
            {
                "name": topology.name,
                "formats": list(found.formats),
                "rates": rates,
                **more,
                "ranks": len(topology.ranks),
                "nodes": len(topology.nodes),
                "links": len(topology.links),
                "output": output,
            }
        )
    elif output is None:
        sys.stdout.writelines(found.text.splitlines(keepends=True))
