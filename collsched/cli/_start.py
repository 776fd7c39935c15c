"""A command that starts itself again, in ranks on this machine."""

from __future__ import annotations

import sys

import click


def launched() -> bool:
    """Whether a launcher, of any kind, started this process as a rank."""
    from collsched.runtime import launchers, shm

    return shm.launched() or launchers.started()


def start_on_gpus(context: click.Context, engine: str, ranks: int) -> int:
    """Run the command in every rank, and return the exit code of the first that failed, or 0. They are processes of
    their own, since a forked one cannot use a GPU that its parent has looked at.

    Raises MissingComponentError where the engine cannot work here.
    """
    from collsched.runtime import gpu
    from collsched.runtime.launch import launch

    cupy = gpu.require(engine)
    if engine == "nccl":
        gpu.require_nccl(cupy)
    command = [sys.executable, "-m", "collsched.cli.main", context.info_name or "", *arguments(context)]
    return launch(ranks, command, lambda line: click.echo(line, err=True))


def arguments(context: click.Context) -> list[str]:
    """The words of a command that have the meaning of those that it was given."""
    words = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value is None:
            continue
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words += [parameter.opts[0]] if value else []
            continue
        name = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
        for one in value if parameter.multiple or parameter.nargs == -1 else [value]:
            words += [*name, str(one)]
    return words
