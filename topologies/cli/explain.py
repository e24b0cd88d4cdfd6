"""``explain``: what became of one trace, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigFile, since_ms
from .values import quiet_settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(explain)


def explain(
    trace_id: Annotated[str, typer.Argument(help="32 hexadecimal digits.")],
    config: ConfigFile = None,
    since: Annotated[
        str,
        typer.Option(metavar="AGE|TIME", help="Look no further back than 1h, or 2030-01-31T08:00."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Say whether a trace was kept or dropped, when, by which policy, and where its spans went.

    Without --since everything that topics.decisions_retention has left is looked through, the
    newest first. Exit code 1 if nothing is known about the trace.
    """
    import asyncio
    import json

    from topologies.exits import EXIT_CHECK_FAILED
    from topologies.explain import parse_trace_id, search
    from topologies.explain.show import as_rows

    settings = quiet_settings(config)
    wanted = parse_trace_id(trace_id.strip())
    answer = asyncio.run(search(settings, wanted, since_ms(since) if since else 0))
    if as_json:
        typer.echo(json.dumps(answer.as_dict(), indent=2, ensure_ascii=False))
    else:
        _print(list(as_rows(answer, settings)))
    if answer.state == "unknown":
        raise typer.Exit(EXIT_CHECK_FAILED)


def _print(rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if console.width < 120 and not console.is_terminal:
        console.width = 200
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, known in rows:
        table.add_row(what, escape("".join(c if c.isprintable() else " " for c in known)))
    console.print(table)
