"""Lines of a child process, copied to one output with the child's name before each."""

from __future__ import annotations

import asyncio
from typing import IO

__all__ = ["Relay"]

_LINE_BYTES_MAX = 1 << 20
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Relay:
    """``colour`` is an index into the palette, None for plain text."""

    def __init__(
        self, output: IO[str], name: str, width: int, colour: int | None, *, prefixed: bool
    ) -> None:
        self._output = output
        label = f"{name:<{width}} │ "
        if colour is not None:
            label = f"\x1b[{_COLOURS[colour % len(_COLOURS)]}m{label}\x1b[0m"
        self._prefix = label if prefixed else ""

    async def copy(self, source: asyncio.StreamReader) -> None:
        """Copy whole lines until the source ends; a longer line than 1 MiB is broken up."""
        rest = b""
        while chunk := await source.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._write(line)
            if len(rest) > _LINE_BYTES_MAX:
                self._write(rest)
                rest = b""
            self._output.flush()
        if rest:
            self._write(rest)
            self._output.flush()

    def _write(self, line: bytes) -> None:
        self._output.write(f"{self._prefix}{line.decode('utf-8', 'replace').rstrip()}\n")
