"""Exit codes (sysexits.h where it has one): what the end of a process means to who started it."""

from __future__ import annotations

__all__ = [
    "EXIT_CHECK_FAILED",
    "EXIT_CONFIGURATION",
    "EXIT_DEFECT",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_TRY_AGAIN",
    "EXIT_USAGE",
]

EXIT_OK = 0
"""Done, or stopped as asked."""
EXIT_CHECK_FAILED = 1
"""The command found what it was to look for: counts that differ, topics that are missing."""
EXIT_USAGE = 2
"""Wrong use of the command line."""
EXIT_DEFECT = 70
"""A defect, or a stop that took longer than its bound; nothing unfinished was committed."""
EXIT_TRY_AGAIN = 75
"""Something outside (Kafka, a backend) could not be reached; a later try may succeed."""
EXIT_CONFIGURATION = 78
"""The configuration is wrong; a supervisor does not start the process again."""
EXIT_INTERRUPTED = 130
"""Ctrl-C outside a command that ends on it by design."""
