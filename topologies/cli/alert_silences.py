"""``alerts silence add|list|expire``: whom nobody is to be told of for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import ConfigFile, time_of
from .values import AsJson, print_json, print_table, quiet_settings

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.records.silences import Silence

__all__ = ["register"]

_silence = typer.Typer(
    help="Alerts that nobody is told of for a while; they go on firing.", no_args_is_help=True
)


def register(alerts: typer.Typer) -> None:
    """Add the commands of this module to ``alerts``."""
    alerts.add_typer(_silence, name="silence")


@_silence.command()
def add(  # noqa: PLR0917 - typer calls it by name
    matchers: Annotated[
        list[str],
        typer.Argument(
            metavar="MATCHER...",
            help="All must fit an alert's labels: service=checkout, 'severity=~\"info|warning\"'.",
        ),
    ],
    config: ConfigFile = None,
    duration: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long, such as 30m.")
    ] = "2h",
    start: Annotated[
        str, typer.Option(metavar="TIME", help="From when on, such as 2030-01-31T08:00.")
    ] = "",
    end: Annotated[str, typer.Option(metavar="TIME", help="Until when; in place of --for.")] = "",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: AsJson = False,
) -> None:
    """Silence alerts; every notifier knows within a second or two."""
    import asyncio
    from datetime import UTC, datetime, timedelta

    from schemas.config.units import parse_duration
    from schemas.errors import ConfigurationError
    from topologies.alerts import add_silence

    starts_at = time_of("--start", start) if start else datetime.now(UTC)
    try:
        lasts = timedelta(seconds=parse_duration(duration))
    except ValueError as error:
        raise ConfigurationError(f"--for: {duration!r}: {error}") from None
    ends_at = time_of("--end", end) if end else starts_at + lasts
    made = asyncio.run(add_silence(quiet_settings(config), matchers, starts_at, ends_at, comment))
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        typer.echo(f"{made.id}: {_said(made)}, until {_time(made.ends_at)}")


@_silence.command("list")
def list_(
    config: ConfigFile = None,
    expired: Annotated[bool, typer.Option("--expired", help="Those that are over, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show silences."""
    import asyncio
    from datetime import UTC, datetime

    from topologies.alerts import phase, silences

    now = datetime.now(UTC)
    found = asyncio.run(silences(quiet_settings(config)))
    found = tuple(each for each in found if expired or phase(each, now) != "expired")
    if as_json:
        print_json([{**e.model_dump(mode="json"), "state": phase(e, now)} for e in found])
    elif not found:
        typer.echo("nothing is silenced")
    else:
        rows = [
            (
                each.id, phase(each, now), _said(each), _time(each.starts_at),
                _time(each.ends_at), each.who, each.comment,
            )
            for each in found
        ]  # fmt: skip
        print_table(("id", "state", "matchers", "from", "until", "by", "comment"), rows)


@_silence.command()
def expire(
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Of `silence list`; its beginning will do.")
    ],
    config: ConfigFile = None,
) -> None:
    """End silences now."""
    import asyncio

    from topologies.alerts import expire_silences

    for each in asyncio.run(expire_silences(quiet_settings(config), ids)):
        typer.echo(f"{each.id}: {_said(each)}, is over")


def _said(silence: Silence) -> str:
    return " ".join(silence.matchers)


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S")
