"""Rows as a table for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from rich.markup import escape
from rich.table import Table

from .figures import FIGURES, Figure, Row
from .policies import PolicyRow, joined

__all__ = ["policy_table", "table"]

_WIDE_COLUMNS = 160
Unit = Literal["count", "bytes", "share"]


def table(rows: Iterable[Row], columns: int = _WIDE_COLUMNS) -> Table:
    """One line per process, what is not ready with its reason.

    ``columns`` is the width of the terminal; on a narrow one only what is essential is shown.
    """
    figures = [f for f in FIGURES if f.essential or columns >= _WIDE_COLUMNS]
    shown = Table(box=None, pad_edge=False)
    shown.add_column("stage", no_wrap=True)
    shown.add_column("ready", no_wrap=True)
    for figure in figures:
        shown.add_column(figure.title, justify="right", no_wrap=True)
    notes = []
    for row in rows:
        name = row.stage + (f"#{row.worker}" if row.worker else "")
        mark = "[green]yes[/]" if row.ready else f"[red]{escape(row.state)}[/]"
        if row.restarts:
            mark += f" [yellow]({row.restarts} restarts)[/]"
        shown.add_row(escape(name), mark, *(_text(f, row.figures[f.name]) for f in figures))
        if row.reason:
            notes.append(f"{name}: {row.reason}")
    if notes:
        shown.caption = escape("; ".join(notes))
        shown.caption_justify = "left"
    return shown


def policy_table(rows: Iterable[Row]) -> Table | None:
    """One line per policy of sampling, over all processes; None where nothing is sampled."""
    found = joined(each for row in rows for each in row.policies)
    if not found:
        return None
    shown = Table(box=None, pad_edge=False)
    shown.add_column("policy", no_wrap=True)
    for title in ("kept/s", "dropped/s", "spans/s", "target/s", "spent/s", "of target"):
        shown.add_column(title, justify="right", no_wrap=True)
    for row in found:
        rates = (_number(value, "count") for value in (row.kept, row.dropped, row.spans))
        shown.add_row(escape(row.policy), *rates, *_limit(row))
    return shown


def _limit(row: PolicyRow) -> tuple[str, str, str]:
    if row.target is None:
        return "", "", ""
    unit: Unit = "bytes" if row.unit == "bytes" else "count"
    target = _number(row.target, unit) + ("" if unit == "bytes" else f" {row.unit}")
    share = None if row.spent is None else row.spent / row.target
    return target, _number(row.spent, unit), _number(share, "share")


def _text(figure: Figure, value: float | None) -> str:
    return _number(value, figure.unit)


def _number(value: float | None, unit: Unit) -> str:
    if value is None:
        return "[dim]-[/]"
    if unit == "share":
        return f"{value * 100:.0f} %"
    if unit == "count":
        return f"{value:,.0f}"
    for prefix in ("", "k", "M"):
        if value < 1000:
            return f"{value:,.1f} {prefix}B" if prefix else f"{value:,.0f} B"
        value /= 1000
    return f"{value:,.1f} GB"
