"""`collsched`: the verbs, and how their errors reach the shell.

Exit codes: 0 done; 1 the answer is no; 2 bad input; 3 a missing component; 130 interrupted. A reader that leaves early
(`| head`) gets no complaint.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

import click

from collsched import __version__
from collsched.errors import CollschedError


@dataclass(frozen=True, slots=True)
class Verb:
    module: str
    command: str
    help: str


VERBS = {
    "compile": Verb("collsched.cli.compile", "compile_command", "Compile a topology into a verified plan."),
    "explain": Verb("collsched.cli.explain", "explain_command", "What bounds a collective, and what would raise it."),
    "verify": Verb("collsched.cli.verify", "verify_command", "Re-check every claim of a plan file."),
    "simulate": Verb(
        "collsched.cli.simulate", "simulate_command", "Predicted times of a plan and of the usual algorithms."
    ),
    "route": Verb("collsched.cli.route", "route_command", "Plan which flow takes which path, with few splits."),
    "export": Verb("collsched.cli.export", "export_command", "Write a plan's schedule in another format."),
    "run": Verb("collsched.cli.run", "run_command", "Execute a plan once and check every element."),
    "launch": Verb("collsched.cli.launch", "launch_command", "Start N ranks of a program on this machine."),
    "bench": Verb("collsched.cli.bench", "bench_command", "Measure a plan beside MPI, gloo or NCCL."),
    "show": Verb("collsched.cli.show", "show_command", "Pictures of a topology or a plan, as text, page or trace."),
    "doctor": Verb("collsched.cli.doctor", "doctor_command", "What works on this machine, and why the rest does not."),
    "topology": Verb("collsched.cli.topology", "topology_group", "List, show, import and probe topologies."),
}


class LazyGroup(click.Group):
    """Imports a verb's module only when that verb is asked for, so that `--help` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command = getattr(import_module(verb.module), verb.command)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A first plan:  collsched compile dgx-a100 --set boxes=2",
)
@click.version_option(__version__, prog_name="collsched")
def cli() -> None:
    """Compile a network topology into the fastest collective communication schedule its cuts allow."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console entry point. Every error raised on purpose ends as one message on stderr and its exit code."""
    try:
        sys.exit(_run(arguments))
    except BrokenPipeError:
        # Keep the interpreter from complaining when it flushes at exit; 141 is what a shell reports for SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="collsched", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CollschedError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except MemoryError:
        click.echo("error: not enough memory for a problem of this size", err=True)
        return 3


if __name__ == "__main__":
    main()
