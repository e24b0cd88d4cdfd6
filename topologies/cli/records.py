"""``records``: the formats of what lies on our topics beside OTLP."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(records)


def records(
    as_json: Annotated[bool, typer.Option("--json", help="JSON Schema of each.")] = False,
) -> None:
    """Print the record types with their fields, as Markdown."""
    import json

    from schemas.records.reference import json_schemas, to_markdown

    if as_json:
        typer.echo(json.dumps(json_schemas(), indent=2))
    else:
        typer.echo(to_markdown(), nl=False)
