"""Where the source is cut: which decided messages become one work order, and when."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .clock import Clock

__all__ = ["Orders", "Piece", "Range"]


class Piece(NamedTuple):
    """A message of the source."""

    offset: int
    size_bytes: int
    time_ms: int
    """Sampling's time at it."""
    ahead_ms: int = 0
    highest_ms: int = 0
    """As in ``Clock``."""


class Range(NamedTuple):
    """Messages of one order: offsets from ``start`` to before ``stop``."""

    start: int
    stop: int
    pieces: tuple[Piece, ...]

    @property
    def size_bytes(self) -> int:
        """Of its messages' values."""
        return sum(piece.size_bytes for piece in self.pieces)

    @property
    def clock(self) -> Clock:
        """After its last message."""
        last = self.pieces[-1]
        return Clock(last.time_ms, last.ahead_ms, last.highest_ms)

    def halves(self) -> tuple[Range, Range] | None:
        """Two ranges in its place; None: one message cannot be cut."""
        if len(self.pieces) < 2:
            return None
        middle = len(self.pieces) // 2
        left, right = self.pieces[:middle], self.pieces[middle:]
        return Range(self.start, right[0].offset, left), Range(right[0].offset, self.stop, right)


class Orders:
    """Messages between the end of the last order and the present; amortised O(1) a message.

    What is decided goes out when it has ``source_max_bytes``, in ranges of that size, or all of it
    once the last order is ``interval_ms`` old. Ranges tile the source: each starts at the end of
    the one before. ``end`` and ``issued_ms`` follow from the orders alone, so that
    they come back with the log; the messages behind ``end`` come back with the replay.

    Args:
        source_max_bytes: bytes of messages in a range of several.
        interval_ms: milliseconds between orders.
    """

    def __init__(self, source_max_bytes: int, interval_ms: int) -> None:
        self._max_bytes = source_max_bytes
        self._interval_ms = interval_ms
        self.end: int | None = None
        """Offset after the last order; the first message's offset before there is one; None:
        nothing has come."""
        self.issued_ms = 0
        """When the last order was issued."""
        self.clock = Clock()
        """After the last message before ``end``."""
        self._undecided: deque[Piece] = deque()
        self._decided: deque[Piece] = deque()
        self._decided_bytes = 0

    def take(self, piece: Piece) -> None:
        """A message has come; they come in offset order."""
        if self.end is None:
            self.end = piece.offset
        self._undecided.append(piece)

    def due(self, upto: int, now_ms: int) -> list[Range]:
        """Ranges to be ordered now, given that everything before offset ``upto`` is decided.

        Each is to be settled, or parts of it in order, before the next call.
        """
        undecided, decided = self._undecided, self._decided
        while undecided and undecided[0].offset < upto:
            piece = undecided.popleft()
            decided.append(piece)
            self._decided_bytes += piece.size_bytes
        everything = now_ms - self.issued_ms >= self._interval_ms
        found: list[Range] = []
        start = self.end
        while decided and (everything or self._decided_bytes >= self._max_bytes):
            assert start is not None  # noqa: S101 -- a message has come
            pieces = [decided.popleft()]
            size = pieces[0].size_bytes
            while decided and size + decided[0].size_bytes <= self._max_bytes:
                piece = decided.popleft()
                pieces.append(piece)
                size += piece.size_bytes
            self._decided_bytes -= size
            found.append(Range(start, pieces[-1].offset + 1, tuple(pieces)))
            start = found[-1].stop
        return found

    @property
    def time_ms(self) -> int:
        """Sampling's time at the last message before ``end``."""
        return self.clock.time_ms

    def settle(self, stop: int, issued_ms: int, clock: Clock) -> None:
        """An order up to ``stop`` is on the log."""
        self.end = stop
        self.issued_ms = issued_ms
        if clock.time_ms >= self.clock.time_ms:
            self.clock = clock
        for waiting in (self._decided, self._undecided):
            while waiting and waiting[0].offset < stop:
                piece = waiting.popleft()
                if waiting is self._decided:
                    self._decided_bytes -= piece.size_bytes
