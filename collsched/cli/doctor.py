"""`collsched doctor`: what is installed, what works here, why the rest does not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from collsched.cli._common import console, json_option, print_json, progress

if TYPE_CHECKING:
    from collsched.doctor import Component, EngineState, Pair
    from collsched.runtime.launchers import Peers


@click.command("doctor")
@click.option("--engine", default="auto", show_default=True, metavar="ENGINE", help="Of the pairs of ranks.")
@json_option
def doctor_command(engine: str, as_json: bool) -> int:
    """Tell what is installed, try every engine with two ranks of its own, and say why the rest does not work.

    As a program of `collsched launch`, mpirun or torchrun, check the pairs of its ranks instead: a message each way, on
    the engine that the ranks would use. The exit code is 0 if the shm engine, or every pair, works, else 1.
    """
    from collsched.runtime.peers import find

    peers = find()
    if peers is not None and peers.ranks > 1:
        return _pairs(peers, engine, as_json)
    from collsched.doctor import components, engine_states

    with progress() as shown:
        shown("looking for components")
        found = components()
        shown("trying engines")
        states = engine_states()
    works = next(state.works for state in states if state.name == "shm")
    if as_json:
        print_json(
            {"works": works, "components": [asdict(c) for c in found], "engines": [asdict(s) for s in states]},
        )
    else:
        _print(found, states)
    return 0 if works else 1


def _pairs(peers: Peers, engine: str, as_json: bool) -> int:
    from collsched.doctor import check_pairs

    name, pairs = check_pairs(peers, engine)
    if peers.rank == 0:
        if as_json:
            print_json({"works": True, "engine": name, "ranks": peers.ranks, "pairs": [_json(pair) for pair in pairs]})
        else:
            _print_pairs(peers, name, pairs)
    return 0


def _json(pair: Pair) -> dict[str, Any]:
    return {
        "ranks": [pair.first, pair.second],
        "latency_seconds": pair.latency,
        "GBps": pair.rate / 1e9,
    }


def _print(found: list[Component], states: list[EngineState]) -> None:
    from rich.table import Table

    out = console()
    table = Table(box=None, show_header=False, pad_edge=False)
    for component in found:
        style = "dim" if component.version is None else None
        table.add_row(component.name, component.version or "–", component.remark, style=style)
    out.print(table)
    out.print()
    engines = Table(box=None, show_header=False, pad_edge=False)
    for state in states:
        engines.add_row(f"engine {state.name}", "works" if state.works else "does not work", state.reason)
    out.print(engines)


def _print_pairs(peers: Peers, engine: str, pairs: list[Pair]) -> None:
    from rich.table import Table

    from collsched.units import format_seconds

    out = console()
    out.print(f"{peers.ranks} ranks started by {peers.launcher}, engine {engine}: every pair works")
    table = Table(box=None, pad_edge=False)
    for name in ("ranks", "8 bytes", "1 MiB, GB/s"):
        table.add_column(name, justify="right")
    for pair in pairs:
        table.add_row(f"{pair.first} ↔ {pair.second}", format_seconds(pair.latency), f"{pair.rate / 1e9:.3f}")
    out.print(table)
