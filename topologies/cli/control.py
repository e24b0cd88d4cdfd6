"""``control set|unset|get|history``: what is changed while workers run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from schemas.config import Config
    from schemas.records import Audit, Value

__all__ = ["register"]

_control = typer.Typer(help="What is changed while workers run.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit topic.")]
Name = Annotated[str, typer.Argument(help="One of `control get`.")]
SomeName = Annotated[str | None, typer.Argument(help="Only this one.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_control, name="control")


@_control.command("set")
def set_(
    name: Name,
    value: Annotated[str, typer.Argument(help="What to set it to.")],
    config: ConfigFile = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Set a value; every worker takes it over at its next batch boundary."""
    from schemas.control import control_settings, find_setting

    settings = _settings(config)
    parsed = find_setting(name, control_settings(settings)).parse(value)
    _set(settings, name, parsed, reason, as_json=as_json)


@_control.command()
def unset(
    name: Name, config: ConfigFile = None, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Take back what was set: as the configuration says again."""
    _set(_settings(config), name, None, reason, as_json=as_json)


@_control.command()
def get(name: SomeName = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what can be set, and what it is set to."""
    import asyncio

    from schemas.control import control_settings, find_setting
    from topologies.control.setting import current

    settings = _settings(config)
    if name is not None:
        find_setting(name, control_settings(settings))
    shown, ignored = asyncio.run(current(settings))
    shown = [each for each in shown if name in (None, each.name)]
    _warn(ignored)
    if as_json:
        _print_json(
            [
                {
                    "name": each.name,
                    "value": each.value,
                    "default": each.default,
                    "description": each.description,
                    "set": None if each.control is None else each.control.model_dump(mode="json"),
                }
                for each in shown
            ]
        )
        return
    rows = []
    for each in shown:
        by = each.control
        set_by = ("", "", "") if by is None else (by.who, _time(by.at), by.reason)
        rows.append((each.name, _text(each.value), _text(each.default), *set_by, each.description))
    _print_table(("name", "value", "default", "set by", "at", "reason", "meaning"), rows)


@_control.command()
def history(name: SomeName = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show who set what, and from which message on workers took it over."""
    import asyncio

    from topologies.control.setting import history as read

    audits, ignored = asyncio.run(read(_settings(config), name))
    _warn(ignored)
    if as_json:
        _print_json([audit.model_dump(mode="json") for audit in audits])
        return
    rows = [
        (
            _time(audit.at),
            audit.name,
            f"{audit.action} at start" if audit.at_start else audit.action,
            f"{_text(audit.before)} → {_text(audit.after)}",
            audit.who if audit.action == "set" else f"{audit.worker} ({', '.join(audit.stages)})",
            audit.reason if audit.action == "set" else _ranges(audit),
        )
        for audit in audits
    ]
    _print_table(("time", "name", "what", "value", "by", "reason, or from message"), rows)


def _settings(config: Path | None) -> Config:
    import logging

    from topologies.boot import read_config

    # The command ends with one message that says what is wrong; aiokafka's say it in pieces.
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return read_config(config)[0]


def _set(settings: Config, name: str, value: Value, reason: str, *, as_json: bool) -> None:
    import asyncio

    from topologies.control.setting import set_value

    done = asyncio.run(set_value(settings, name, value, reason))
    if as_json:
        _print_json(done._asdict())
    else:
        typer.echo(
            f"{name}: {_text(done.before)} -> {_text(done.after)} (control record {done.offset})"
        )


def _ranges(audit: Audit) -> str:
    return ", ".join(
        f"{each.topic}/{each.partition}:{'next batch' if each.first is None else each.first}"
        for each in audit.ranges
    )


def _text(value: Value) -> str:
    if value is None:
        return "(configuration)"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(when: Any) -> str:
    return str(when.strftime("%Y-%m-%d %H:%M:%S"))


def _warn(ignored: list[str]) -> None:
    for each in ignored:
        typer.echo(f"ignored: {each}", err=True)


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if console.width < 120 and not console.is_terminal:
        console.width = 200
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(_printable(cell)) for cell in row))
    console.print(table)


def _printable(text: str) -> str:
    """No control characters: they would steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
