"""Alerts for people: what is on their topics, and silences."""

from .reading import Filters, current, history, read_state
from .silences import (
    KEPT_S,
    add_silence,
    expire_silences,
    in_force,
    phase,
    silences,
)

__all__ = [
    "KEPT_S",
    "Filters",
    "add_silence",
    "current",
    "expire_silences",
    "history",
    "in_force",
    "phase",
    "read_state",
    "silences",
]
