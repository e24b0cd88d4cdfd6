"""``demo``: what ``make run`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(demo)


def demo(  # noqa: PLR0917 - typer calls it by name
    seconds: Annotated[
        float | None,
        typer.Option(min=0.5, help="Send for so long and end by itself; default: until Ctrl-C."),
    ] = None,
    config: ConfigFile = None,
    clients: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Clients that replay the recording at once."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1, metavar="PER_S", help="Spans a second, by as many clients."),
    ] = None,
    incident: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:SERVICE@START+DURATION",
            help="What happens to all clients at once, START after the first request; "
            "``none`` for nothing.",
        ),
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:SERVICE@START+DURATION",
            help="A fault in every lap, as with replay: errors:ts-order-service@10s+20s. "
            "Default: some failures and slow requests. ``none`` for the recording as it is.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write what was put in, and into which traces: JSON lines."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the faults and of fresh ids.")] = 1,
    any_ports: Annotated[
        bool, typer.Option("--any-ports", help="Free ports even where the usual ones are free.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Summary as JSON.")] = False,
) -> None:
    """Start Kafka, every stage and a backend on this machine, and let real telemetry flow.

    Traces are sampled to a budget, unless the configuration says otherwise. Ends with a
    comparison of what was sent, acknowledged, decided and exported; exit 1 if something is off.
    """
    import asyncio

    from topologies.demo import FAULTS, INCIDENT, Settings, Source, run

    faults = () if inject == ["none"] else tuple(inject or FAULTS)
    happens = None if incident == "none" else (incident or INCIDENT)
    settings = Settings(
        seconds=seconds,
        source=Source(clients, happens, faults, seed, truth, rate),
        config=config,
        any_ports=any_ports,
        as_json=as_json,
    )
    raise typer.Exit(0 if asyncio.run(run(settings)) else 1)
