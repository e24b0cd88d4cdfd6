"""Exit codes (sysexits.h where it has one): what the end of a process means to who started it."""

from __future__ import annotations

__all__ = [
    "EXIT_CHECK_FAILED",
    "EXIT_CONFIGURATION",
    "EXIT_CRASHED",
    "EXIT_DEFECT",
    "EXIT_FENCED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_TRY_AGAIN",
    "EXIT_USAGE",
]

EXIT_OK = 0
"""Done, or stopped as asked with everything finished and committed."""
EXIT_CHECK_FAILED = 1
"""The command found what it was to look for: counts that differ, topics that are missing."""
EXIT_USAGE = 2
"""Wrong use of the command line."""
EXIT_DEFECT = 70
"""A defect; what was in flight is read again. Of a supervisor: a process did not stop well."""
EXIT_CRASHED = 71
"""Faust or one of its parts crashed, or could not start; what was in flight is read again."""
EXIT_FENCED = 72
"""Another process has taken over a partition while this one stood still; nothing was repeated."""
EXIT_TRY_AGAIN = 75
"""Kafka or a backend could not be reached, or a stop took longer than its bound."""
EXIT_CONFIGURATION = 78
"""The configuration is wrong; a supervisor does not start the process again."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, where the command does not end on it by design."""
