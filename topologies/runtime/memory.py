"""Freed memory stays with the process for the next batch, for as long as it is not much.

A lane collects some MB, commits, frees, and collects again. glibc gives the end of its heap back
to the kernel each time, and takes it again page by page: measured with messages of 270 KB on one
lane, 280 faults a message, a fifth of all CPU, and more than transactions cost.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

MMAP_BYTES = 16 << 20
"""Smaller blocks come from the heap: glibc's own limit begins at 128 KiB and grows to 32 MiB."""
TRIM_BYTES = 32 << 20
"""So much free memory stays at the heap's end; resident at the most, once it was needed."""

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Tell the allocator; False where it is not glibc's, which is just as well."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all((mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES), mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)))
