"""Which offset of a partition may be committed.

Messages finish in any order; Kafka knows one number per partition. The ledger keeps the
offsets that were delivered and are not finished, and names the first of them: everything
before it may be committed, nothing else. Pure; one ledger per partition and assignment.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Ledger"]


class Ledger:
    """The contiguous prefix of finished offsets of one partition in one assignment."""

    __slots__ = ("_finished", "_last", "_progressed", "_unfinished", "closed")

    def __init__(self) -> None:
        self._unfinished: deque[int] = deque()
        self._finished: set[int] = set()
        self._last: int | None = None
        self._progressed = False
        self.closed = False
        """The partition is gone: what finishes now is somebody else's to commit."""

    def deliver(self, offset: int) -> bool:
        """Take note of a message; False if it is known already and must not be handled again."""
        if self._last is not None and offset <= self._last:
            return False
        self._unfinished.append(offset)
        self._last = offset
        return True

    def finish(self, offset: int) -> None:
        """Note that everything that ``offset`` asked for is done.

        Raises:
            ValueError: the offset was not delivered, or is finished already.
        """
        if self.closed:
            return
        unfinished, finished = self._unfinished, self._finished
        if not unfinished or not unfinished[0] <= offset <= unfinished[-1] or offset in finished:
            raise ValueError(f"offset {offset} is not under way")
        finished.add(offset)
        while unfinished and unfinished[0] in finished:
            finished.remove(unfinished.popleft())
            self._progressed = True

    @property
    def committable(self) -> int | None:
        """The first offset that is not finished; None before any progress, or when closed."""
        if self.closed or not self._progressed or self._last is None:
            return None
        return self._unfinished[0] if self._unfinished else self._last + 1

    @property
    def position(self) -> int | None:
        """As :attr:`committable`, from the first delivery on and also when closed; for lag."""
        if self._last is None:
            return None
        return self._unfinished[0] if self._unfinished else self._last + 1

    @property
    def next_offset(self) -> int | None:
        """Where reading goes on: after the last delivered message; None before the first."""
        return None if self._last is None else self._last + 1

    @property
    def span(self) -> int:
        """Messages from the first unfinished one to the last delivered one."""
        return len(self._unfinished)
