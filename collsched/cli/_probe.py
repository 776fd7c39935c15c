"""`collsched topology probe`: the topology of this host."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from collsched.cli._common import json_option, progress
from collsched.cli._import import answers, deliver


@click.command("probe", short_help="The topology of this host.")
@click.option(
    "--ibnetdiscover", "fabric", is_flag=True, help="Read the InfiniBand fabric too; its hosts are like this one."
)
@click.option("--hosts", type=int, metavar="N", help="Copies of the host; or use the first N of the fabric's hosts.")
@click.option("--only-hosts", metavar="PATTERN", help="Hosts of the fabric to use, such as 'dgx-0*'.")
@click.option(
    "--rates",
    type=click.Choice(["nominal", "runtime"]),
    default="nominal",
    show_default=True,
    help="The vendors' rates of links that are only counted, or those that NCCL and RCCL assume.",
)
@click.option("--sysfs", default="/sys", show_default=True, metavar="DIR", help="Where the kernel shows the devices.")
@answers
@click.option("--name", metavar="NAME", help="Name of the topology; that of the host by default.")
@click.option("-o", "--output", metavar="FILE", help="YAML file to write; standard output by default.")
@json_option
def probe_command(
    fabric: bool, hosts: int | None, only_hosts: str | None, rates: Literal["nominal", "runtime"], sysfs: str,
    name: str | None, output: str | None, as_json: bool, **options: str | None,
) -> None:  # fmt: skip
    """Write the topology of this host in the explicit form, without root.

    It asks nvidia-smi, rocm-smi, lstopo and /sys; the first that knows GPUs describes the host, and the others complete
    it. Each number carries its source in a comment; what no source tells is asked for by the names of the options
    below. Exit code 3: no source knows a GPU.

    \b
    collsched topology probe -o host.yaml
    collsched topology probe --hosts 4 --fabric rails -o four.yaml
    """
    from collsched.topology.probe import probe

    given = {option.replace("_", "-"): value for option, value in options.items() if value is not None}
    with progress() as shown:
        shown("asking the tools of this host")
        found = probe(
            rates=rates, hosts=hosts, given=given, name=name, only_hosts=only_hosts, fabric=fabric, root=Path(sysfs)
        )
    answered = {option: {"value": value, "source": source} for option, (value, source) in found.answers.items()}
    more = {"sources": dict(found.sources), "answers": answered}
    deliver(found.imported, rates, output, as_json=as_json, more=more)
