"""``kafka``: a local Apache Kafka in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(kafka)


def kafka(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 9092,
    data: Annotated[
        Optional[Path],  # noqa: UP045 - typer evaluates it
        typer.Option(
            metavar="DIR", help="Where data lie; default .kafka/data.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep/--discard", help="What becomes of the data at the end.")
    ] = True,
    release: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--version", metavar="X.Y.Z", help="Apache Kafka to run.", show_default=False),
    ] = None,
) -> None:
    """Run a local Apache Kafka until Ctrl-C. For development, not for production.

    Java 17 or newer is needed, and Maven the first time, to fetch the jars (45 MB).
    """
    import signal
    import threading

    from schemas.errors import OtlpStreamsError
    from topologies.localkafka import KAFKA_VERSION, LocalKafka, default_cache

    version = release or KAFKA_VERSION
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    directory = data or default_cache() / "data"
    broker = LocalKafka(directory, port=port, keep=keep, version=version)
    typer.echo(f"Apache Kafka {version} is starting ...", err=True)
    try:
        try:
            broker.start(give_up=ended.is_set)
        except OtlpStreamsError:
            if not ended.is_set():  # Ctrl-C ends Maven too, and that is no fault of Maven's
                raise
        if not ended.is_set():
            typer.echo(
                f"Apache Kafka {version} serves {broker.bootstrap}; data in {directory} are "
                f"{'kept' if keep else 'discarded at the end'}. Ctrl-C ends it."
            )
        while not ended.wait(0.5):
            if not broker.running:
                typer.echo(f"Apache Kafka ended by itself; see {broker.log_file}", err=True)
                raise typer.Exit(1)
    finally:
        broker.close()
    typer.echo("Apache Kafka has stopped.", err=True)
