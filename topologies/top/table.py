"""Rows as a table for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from .figures import FIGURES, Figure, Row

__all__ = ["table"]


_WIDE_COLUMNS = 160


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


def _text(figure: Figure, value: float | None) -> str:
    if value is None:
        return "[dim]-[/]"
    if figure.unit == "share":
        return f"{value * 100:.0f} %"
    if figure.unit == "count":
        return f"{value:,.0f}"
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"
