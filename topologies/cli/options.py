"""Options that many commands share. Light to import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["ConfigFile"]

ConfigFile = Annotated[
    Optional[Path],  # noqa: UP045 - typer evaluates it
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="OTLP_STREAMS_CONFIG",
        help="Configuration file; default ./otlp-streams.yaml if there is one, else the defaults.",
        show_default=False,
    ),
]
