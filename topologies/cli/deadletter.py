"""``deadletter list|show|replay``: what could not be processed, and another try."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import ConfigFile, since_ms

if TYPE_CHECKING:
    from schemas.config import Config
    from topologies.deadletters import Filters, Letter, Outcome, Replays

    Sized = tuple[Letter, int]
    """With the size of its value, in bytes."""

__all__ = ["register"]

_deadletter = typer.Typer(help="What could not be processed, and another try.")
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Reason = Annotated[str, typer.Option(help="Only with this reason, such as malformed.")]
Stage = Annotated[str, typer.Option(help="Only what this stage gave up.")]
Topic = Annotated[str, typer.Option(help="Only from this topic.")]
Since = Annotated[
    str, typer.Option(metavar="AGE|TIME", help="Given up within 2h, 1d, or since 2030-01-31T08:00.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_deadletter, name="deadletter", no_args_is_help=True)


@_deadletter.command("list")
def list_(  # noqa: PLR0917 - typer calls it by name
    config: ConfigFile = None,
    reason: Reason = "",
    stage: Stage = "",
    topic: Topic = "",
    since: Since = "",
    limit: Annotated[int | None, typer.Option("--max", min=1, help="The newest so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show dead letters, oldest first."""
    import asyncio
    import contextlib

    from topologies.deadletters import letters, replays

    settings = _settings(config)
    filters = _filters(reason, stage, topic, since)

    async def read() -> tuple[list[Sized], Replays]:
        found: list[Sized] = []
        every = letters(settings)
        async with contextlib.aclosing(every):
            async for each in every:
                if filters.accept(each):
                    # No value is shown here, and they may be many.
                    message = each.message._replace(value=b"")
                    found.append((each._replace(message=message), len(each.message.value)))
        found.sort(key=lambda sized: (sized[0].message.timestamp_ms, sized[0].message.partition))
        return found[-limit:] if limit else found, await replays(settings)

    found, done = asyncio.run(read())
    if as_json:
        _print_json([_described(each, size, done) for each, size in found])
        return
    _print_list(found, done)


@_deadletter.command()
def show(
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="As `list` shows it.")],
    config: ConfigFile = None,
    raw: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the original bytes there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: headers, and its content as what its source topic holds."""
    import asyncio

    from topologies.deadletters import one_letter, parse_place
    from topologies.tap import as_json as json_line

    from .tap import print_message, signal_of

    settings = _settings(config)
    each = asyncio.run(one_letter(settings, *parse_place(place)))
    signal = signal_of(each.message, settings)
    if raw is not None:
        _write(raw, each.message.value)
    if as_json:
        typer.echo(json_line(signal, each.message))
        return
    print_message(each.message, signal, headers=True)
    if each.error:
        typer.echo(each.error, err=True)


@_deadletter.command()
def replay(  # noqa: PLR0917 - typer calls it by name
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PARTITION:OFFSET]...", help="Only these.")
    ] = None,
    config: ConfigFile = None,
    reason: Reason = "",
    stage: Stage = "",
    topic: Topic = "",
    since: Since = "",
    limit: Annotated[int | None, typer.Option("--max", min=1, help="At most so many.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was sent back before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to their topics, each once, however often this is interrupted.

    Exit code 1 if some could not be sent back.
    """
    import asyncio

    from topologies.deadletters import parse_place
    from topologies.deadletters import replay as run

    settings = _settings(config)
    filters = _filters(reason, stage, topic, since)
    filters = filters._replace(places=frozenset(map(parse_place, places or ())))
    if topic:
        _ours(topic, settings)

    def progress(so_far: Outcome) -> None:
        if not dry_run:
            typer.echo(f"{so_far.sent:,} sent", err=True)

    outcome = asyncio.run(
        run(settings, filters, again=again, dry_run=dry_run, limit=limit, progress=progress)
    )
    if as_json:
        _print_json(
            {
                "dry_run": dry_run,
                "sent": outcome.sent,
                "sent_bytes": outcome.sent_bytes,
                "already": outcome.already,
                "refused": [
                    {"partition": partition, "offset": offset, "why": why}
                    for partition, offset, why in outcome.refused
                ],
            }
        )
    else:
        what = "would be sent back" if dry_run else "sent back"
        typer.echo(f"{outcome.sent:,} {what}, {outcome.sent_bytes:,} bytes")
        if outcome.already:
            typer.echo(f"{outcome.already:,} were sent back before (--again sends them again)")
        for partition, offset, why in outcome.refused:
            typer.echo(f"{partition}:{offset} cannot be sent back: {why}", err=True)
    if outcome.refused:
        raise typer.Exit(1)


def _ours(topic: str, config: Config) -> None:
    from schemas.config.problems import nearest
    from schemas.errors import ConfigurationError
    from schemas.topics import topic_specs

    known = [spec.name for spec in topic_specs(config) if spec.cleanup_policy == "delete"]
    if topic not in known:
        guess = nearest(topic, known)
        hint = f"; did you mean {guess}?" if guess else ""
        raise ConfigurationError(f"--topic: {topic} is not a topic of ours{hint}")


def _settings(config: Path | None) -> Config:
    import logging

    from topologies.boot import read_config

    # The command ends with one message that says what is wrong; aiokafka's say it in pieces.
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return read_config(config)[0]


def _filters(reason: str, stage: str, topic: str, since: str) -> Filters:
    from topologies.deadletters import Filters

    return Filters(reason, stage, topic, since_ms(since) if since else 0)


def _described(each: Letter, size_bytes: int, done: Replays) -> dict[str, Any]:
    message = each.message
    return {
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp_ms,
        "bytes": size_bytes,
        "replayed": (message.partition, message.offset) in done,
        "letter": None if each.letter is None else each.letter.model_dump(mode="json"),
        "error": each.error or None,
    }


def _print_list(found: list[Sized], done: Replays) -> None:
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from topologies.tap.show import printable

    console = Console()
    if console.width < 120 and not console.is_terminal:
        console.width = 200
    columns = ("place", "time", "reason", "stage", "source", "bytes", "replayed", "message")
    table = Table(*columns, box=None, pad_edge=False)
    for each, size_bytes in found:
        message, letter = each.message, each.letter
        place = f"{message.partition}:{message.offset}"
        when = datetime.fromtimestamp(message.timestamp_ms / 1000, UTC)
        replayed = "yes" if (message.partition, message.offset) in done else ""
        cells = (
            ("?", "?", "?", each.error)
            if letter is None
            else (
                letter.reason,
                letter.stage,
                f"{letter.topic}/{letter.partition}:{letter.offset}",
                letter.message,
            )
        )
        if letter is not None and letter.replayed:
            replayed = f"{replayed} ({letter.replayed} before)".strip()
        reason, stage, source, text = (escape(printable(cell)) for cell in cells)
        table.add_row(
            place,
            f"{when:%Y-%m-%d %H:%M:%S}",
            reason,
            stage,
            source,
            f"{size_bytes:,}",
            replayed,
            text,
        )
    console.print(table)
    typer.echo(f"{len(found):,} dead letters")


def _write(file: Path, value: bytes) -> None:
    from schemas.errors import ConfigurationError

    try:
        file.write_bytes(value)
    except OSError as error:
        raise ConfigurationError(f"--raw: {file}: {error.strerror or error}") from None


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
