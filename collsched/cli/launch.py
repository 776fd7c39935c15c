"""`collsched launch`: N ranks of a program on this machine."""

from __future__ import annotations

import os

import click


@click.command("launch", context_settings={"ignore_unknown_options": True})
@click.option("-n", "ranks", type=int, required=True, metavar="N", help="The number of ranks.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a rank may wait for another before that is an error (300).",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
def launch_command(ranks: int, timeout: float | None, command: tuple[str, ...]) -> int:
    """Start N ranks of a program on this machine, for the shm engine.

    In each of them collsched.connect(plan) returns that rank's communicator. The exit code is that of the first rank
    that failed, or 0. When one rank fails, the others get an error in their next collective; when this command ends,
    for whatever reason, all ranks end.
    """
    from collsched.runtime.launch import launch
    from collsched.runtime.shm import ENV_TIMEOUT

    if timeout is not None:
        os.environ[ENV_TIMEOUT] = str(timeout)
    return launch(ranks, command, lambda line: click.echo(f"collsched launch: {line}", err=True))
