"""Options that many commands share. Light to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["ConfigFile", "since_ms", "text_of", "time_of"]

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


def time_of(option: str, text: str) -> datetime:
    """A time as a person writes it; local if it says nothing else. Raises ConfigurationError."""
    from datetime import datetime

    from schemas.errors import ConfigurationError

    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{option}: {text!r} is no time, such as 2030-01-31T08:00"
        ) from None


def text_of(file: Path) -> str:
    """What is in a file. Raises ConfigurationError."""
    from schemas.errors import ConfigurationError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{file}: {said}") from None
