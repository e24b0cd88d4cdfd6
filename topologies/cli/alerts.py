"""``alerts``: what there is to say about alerts: what fires, what has fired, rules, silences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import alert_rules, alert_silences, alert_tests
from .options import ConfigFile, since_ms
from .values import AsJson, print_json, print_table, quiet_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.records import AlertEvent
    from topologies.alerts import Filters

__all__ = ["register"]

_alerts = typer.Typer(help="Alerts, their rules, and silences.", no_args_is_help=True)
alert_tests.register(_alerts)
alert_rules.register(alert_tests.rules)
alert_silences.register(_alerts)

_ACTIVE = ("firing", "no_data", "pending")
Rule = Annotated[str, typer.Option(help="Only of this rule.")]
Service = Annotated[str, typer.Option(help="Only of this service.")]
State = Annotated[
    list[str] | None,
    typer.Option(help="Only in this state: firing, no_data, pending, resolved; repeatable."),
]
Match = Annotated[
    list[str] | None,
    typer.Option(metavar="MATCHER", help="Only with such labels: 'severity=~\"critical|error\"'."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_alerts, name="alerts")


@_alerts.command("list")
def list_(  # noqa: PLR0917 - typer calls it by name
    config: ConfigFile = None,
    rule: Rule = "",
    service: Service = "",
    state: State = None,
    match: Match = None,
    as_json: AsJson = False,
) -> None:
    """Show what fires, or may soon."""
    import asyncio
    import time

    from schemas.control import ALERT_SILENCES, control_settings
    from streams.edges.notifiers.matching import Muting
    from topologies.alerts import current, silences

    settings = quiet_settings(config)
    filters = _filters(rule, service, state or _ACTIVE, match)

    async def read() -> tuple[list[AlertEvent], Muting]:
        events = await current(settings, filters)
        known = ALERT_SILENCES in control_settings(settings)
        return events, Muting(await silences(settings) if known else ())

    events, muting = asyncio.run(read())
    muted = [muting(event.labels, time.time()) for event in events]
    if as_json:
        print_json(
            [
                {**event.model_dump(mode="json"), "silenced": silenced}
                for event, silenced in zip(events, muted, strict=True)
            ]
        )
        return
    if not events:
        typer.echo("nothing fires" if not state else "there are none")
        return
    rows = [
        (f"{event.state} (silenced)" if silenced else event.state, *_row(event))
        for event, silenced in zip(events, muted, strict=True)
    ]
    print_table(("state", *_COLUMNS), rows)


@_alerts.command()
def history(  # noqa: PLR0917 - typer calls it by name
    config: ConfigFile = None,
    since: Annotated[
        str,
        typer.Option(metavar="AGE|TIME", help="Look no further back than 1h, or 2030-01-31T08:00."),
    ] = "",
    rule: Rule = "",
    service: Service = "",
    state: State = None,
    match: Match = None,
    limit: Annotated[int | None, typer.Option("--max", min=1, help="The newest so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what alerts have become, oldest first."""
    import asyncio

    from topologies.alerts import history as read

    settings = quiet_settings(config)
    filters = _filters(rule, service, state, match)
    events, unreadable = asyncio.run(read(settings, filters, since_ms(since) if since else 0))
    if unreadable:
        typer.echo(f"ignored: {unreadable} records that are no alerts", err=True)
    events = events if limit is None else events[-limit:]
    if as_json:
        print_json([event.model_dump(mode="json") for event in events])
    elif not events:
        typer.echo("there are none")
    else:
        rows = [(_time(event.at), event.state, *_row(event)) for event in events]
        print_table(("at", "state", *_COLUMNS), rows)


_COLUMNS = ("since", "severity", "alert", "labels", "value", "expected", "what")
_ELSEWHERE = ("alertname", "severity")


def _row(event: AlertEvent) -> tuple[str, ...]:
    labels = [f"{k}={v}" for k, v in event.labels.items() if k not in _ELSEWHERE]
    expected = event.threshold or ""
    if event.low is not None or event.high is not None:
        expected = f"{_number(event.low)} to {_number(event.high)}"
    return (
        _time(event.fired_at or event.starts_at),
        event.labels.get("severity", ""),
        event.rule,
        " ".join(labels),
        _number(event.value),
        expected,
        event.annotations.get("summary", ""),
    )


def _filters(
    rule: str, service: str, states: Sequence[str] | None, match: Sequence[str] | None
) -> Filters:
    from typing import get_args

    from schemas.errors import ConfigurationError
    from schemas.records.alerts import AlertState
    from streams.edges.notifiers.matching import Matching
    from topologies.alerts import Filters

    for state in states or ():
        if state not in (known := get_args(AlertState)):
            raise ConfigurationError(f"--state: {state!r} is not one of {', '.join(known)}")
    try:
        matching = Matching(match or ())
    except ValueError as error:
        raise ConfigurationError(f"--match: {error}") from None
    return Filters(rule, service, tuple(states or ()), matching)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _time(when: Any) -> str:
    return str(when.strftime("%Y-%m-%d %H:%M:%S"))
