"""The dead-letter topic for people: what is on it, and sending it back (replay.py)."""

from .reading import Filters, Letter, Replays, letters, one_letter, parse_place, replays
from .replay import Outcome, replay

__all__ = [
    "Filters",
    "Letter",
    "Outcome",
    "Replays",
    "letters",
    "one_letter",
    "parse_place",
    "replay",
    "replays",
]
