"""A few minutes of real telemetry that ``demo`` replays; source and licence in README.md."""

from pathlib import Path

__all__ = ["EXCERPT", "FILES"]

EXCERPT = Path(__file__).parent
"""Folder of the recording's files."""
FILES = tuple(EXCERPT / f"{signal}.otlp.zst" for signal in ("traces", "metrics", "logs"))
"""One file per signal."""
