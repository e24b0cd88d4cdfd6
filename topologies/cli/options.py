"""Options that many commands share. Light to import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["ConfigFile", "since_ms"]

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


def since_ms(text: str) -> int:
    """Unix milliseconds from an age or a time. Raises ConfigurationError."""
    import time
    from datetime import datetime

    from schemas.config.units import parse_duration
    from schemas.errors import ConfigurationError

    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        pass
    try:
        return round((time.time() - parse_duration(text)) * 1000)
    except ValueError as error:
        raise ConfigurationError(f"--since: {text!r} is no age and no time: {error}") from None
