"""``tap``: decode and print what flows on a topic."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.signals import Signal

from .options import ConfigFile

if TYPE_CHECKING:
    from schemas.config import Config
    from topologies.tap import Message

__all__ = ["print_message", "register", "signal_of"]


class Start(StrEnum):
    """Where to begin."""

    BEGINNING = "beginning"
    END = "end"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(tap)


def tap(  # noqa: PLR0917 - typer calls it by name
    topic: Annotated[str, typer.Argument(help="Topic to look at.")],
    config: ConfigFile = None,
    signal: Annotated[
        Signal | None,
        typer.Option(help="What is on it; default: by the configured topic names, else by name."),
    ] = None,
    start: Annotated[Start, typer.Option("--from", help="Oldest message, or the next.")] = (
        Start.END
    ),
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End at what is there now instead of following.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--max", min=1, help="End after so many messages.")
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option(min=0, help="Only this partition; may be repeated.")
    ] = None,
    headers: Annotated[
        bool, typer.Option("--headers", help="Show headers; a dead letter's are always shown.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON document a line.")] = False,
    brokers: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="Overrides kafka.brokers.")
    ] = None,
) -> None:
    """Decode and print what flows on a topic, committed messages only. Ctrl-C ends it."""
    import asyncio
    import contextlib
    import sys

    from topologies.boot import read_config
    from topologies.tap import as_json as json_line
    from topologies.tap import follow

    settings = _with_brokers(read_config(config)[0], brokers)

    async def run() -> None:
        messages = follow(
            settings.kafka, topic, partitions=partition or (),
            from_beginning=start is Start.BEGINNING, to_end=until_end,
        )  # fmt: skip
        shown = 0
        async with contextlib.aclosing(messages):
            async for message in messages:
                what = signal or signal_of(message, settings)
                if as_json:
                    sys.stdout.write(json_line(what, message) + "\n")
                    sys.stdout.flush()
                else:
                    print_message(message, what, headers=headers)
                shown += 1
                if shown == limit:
                    return

    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(run())


def _with_brokers(config: Config, brokers: list[str] | None) -> Config:
    if not brokers:
        return config
    from pydantic import ValidationError

    from schemas.config import Kafka
    from schemas.errors import ConfigurationError

    try:
        Kafka.model_validate({"brokers": brokers})
    except ValidationError as error:
        raise ConfigurationError(f"--brokers: {error.errors()[0]['msg']}") from None
    kafka = config.kafka.model_copy(update={"brokers": tuple(brokers)})
    return config.model_copy(update={"kafka": kafka})


def signal_of(message: Message, config: Config) -> Signal | None:
    """By the configured names; a dead letter is what its source topic is; else by the name."""
    from streams.recording.frames import guess_signal

    source = dict(message.headers).get("deadletter.topic", message.topic.encode()).decode()
    for signal in Signal:
        if source in (config.topics.names.of(signal), config.topics.names.out(signal)):
            return signal
    return guess_signal(source)


def print_message(message: Message, signal: Signal | None, *, headers: bool) -> None:
    """Where it lies, its headers (a dead letter's always), and a table of its items."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from schemas.errors import MalformedMessage
    from topologies.tap import as_rows
    from topologies.tap.show import COLUMNS, printable

    console = Console(soft_wrap=False)
    console.print(
        f"[bold]{escape(message.topic)}[/] partition {message.partition} offset {message.offset}, "
        f"{len(message.value):,} bytes",
        highlight=False,
    )
    for name, value in message.headers:
        if headers or name.startswith("deadletter."):
            text = f"{name}: {value.decode('utf-8', 'backslashreplace')}"
            console.print("  " + escape(printable(text)), highlight=False)
    if signal is None:
        console.print("  [red]no signal is known for this topic; say --signal[/]")
        return
    table = Table(*COLUMNS[signal], box=None, pad_edge=False)
    try:
        for row in as_rows(signal, message.value):
            table.add_row(*map(escape, row))
    except MalformedMessage as error:
        console.print(f"  [red]{escape(str(error))}[/]")
        return
    if console.width < 120 and not console.is_terminal:
        console.width = 200
    console.print(table)
