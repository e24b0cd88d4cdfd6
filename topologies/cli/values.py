"""Values that are set at run time, as commands set and show them: ``control`` and ``sampling``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from schemas.config import Config
    from schemas.control import ControlSetting
    from schemas.records import Audit, Value

__all__ = [
    "AsJson",
    "Reason",
    "print_json",
    "print_table",
    "quiet_settings",
    "set_value",
    "show_history",
    "show_values",
]

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit topic.")]


def quiet_settings(config: Path | None) -> Config:
    """The configuration; from here on nothing is logged but what is critical."""
    import logging

    import structlog

    from topologies.boot import read_config

    # The command ends with one message that says what is wrong; aiokafka's say it in pieces, and
    # ours would stand among what is printed.
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return read_config(config)[0]


def set_value(
    settings: Config, name: str, value: Value, reason: str, *, as_json: bool = False
) -> None:
    """Set a value that was parsed, None takes back what was set; say what was done."""
    import asyncio

    from schemas.control import control_settings
    from topologies.control.setting import set_value as put

    done = asyncio.run(put(settings, name, value, reason))
    if as_json:
        print_json(done._asdict())
        return
    known = control_settings(settings)[name]
    before, after = _text(done.before, known), _text(done.after, known)
    typer.echo(f"{name}: {before} -> {after} (control record {done.offset})")


def show_values(
    settings: Config, name: str | None, *, prefix: str = "", as_json: bool = False
) -> None:
    """What can be set under ``prefix``, or just ``name``, and what it is set to."""
    import asyncio

    from schemas.control import control_settings, find_setting
    from topologies.control.setting import current

    known = control_settings(settings)
    if name is not None:
        find_setting(name, known)
    shown, ignored = asyncio.run(current(settings))
    shown = [e for e in shown if name in (None, e.name) and e.name.startswith(prefix)]
    _warn(ignored)
    if as_json:
        print_json(
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
        by, said = each.control, known[each.name].shown
        set_by = ("", "", "") if by is None else (by.who, _time(by.at), by.reason)
        rows.append((each.name, said(each.value), said(each.default), *set_by, each.description))
    print_table(("name", "value", "default", "set by", "at", "reason", "meaning"), rows)


def show_history(
    settings: Config, name: str | None, *, prefix: str = "", as_json: bool = False
) -> None:
    """Who set what under ``prefix``, or just ``name``, and from where on workers took it over."""
    import asyncio

    from schemas.control import control_settings
    from topologies.control.setting import history

    audits, ignored = asyncio.run(history(settings, name))
    audits = [audit for audit in audits if audit.name.startswith(prefix)]
    _warn(ignored)
    if as_json:
        print_json([audit.model_dump(mode="json") for audit in audits])
        return
    known = control_settings(settings)
    rows = [_row(audit, known.get(audit.name)) for audit in audits]
    print_table(("time", "name", "what", "value", "by", "reason, or from message"), rows)


def _row(audit: Audit, known: ControlSetting | None) -> tuple[str, ...]:
    person = audit.action == "set"
    return (
        _time(audit.at),
        audit.name,
        f"{audit.action} at start" if audit.at_start else audit.action,
        f"{_text(audit.before, known)} → {_text(audit.after, known)}",
        audit.who if person else f"{audit.worker} ({', '.join(audit.stages)})",
        audit.reason if person else _ranges(audit),
    )


def _ranges(audit: Audit) -> str:
    return ", ".join(
        f"{each.topic}/{each.partition}:{'next batch' if each.first is None else each.first}"
        for each in audit.ranges
    )


def _text(value: Value, known: ControlSetting | None) -> str:
    if value is None:
        return "(configuration)"
    if known is not None:
        return known.shown(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(when: Any) -> str:
    return str(when.strftime("%Y-%m-%d %H:%M:%S"))


def _warn(ignored: list[str]) -> None:
    for each in ignored:
        typer.echo(f"ignored: {each}", err=True)


def print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; what does not fit is wrapped."""
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


def print_json(value: Any) -> None:
    """Print a value for programs."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
