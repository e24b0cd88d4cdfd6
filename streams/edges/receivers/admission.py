"""One bound for the bytes of all requests that are being served.

Memory is reserved before a body is read or inflated, and released when the answer has been sent.
What does not fit is refused at once: waiting would hold the very memory that is short.

Bodies that are slow to arrive (see :class:`~streams.edges.receivers.arrival.Arrival`) hold at
most half of it together; only one that is alone may be larger than that half.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from schemas.errors import MessageTooLarge, Overloaded

__all__ = ["Admission", "Reservation"]

_RECOVERED = 0.5
"""After a refusal, healthy again once no more than this share of the bound is in flight."""


class Admission:
    """A bound on bytes in flight, shared by the servers of one process.

    Used on one event loop only.

    Args:
        inflight_max_bytes: the bound.
        retry_after_s: the retry hint of a refusal.
    """

    def __init__(self, inflight_max_bytes: int, retry_after_s: float = 1.0) -> None:
        self.inflight_max_bytes = inflight_max_bytes
        self.retry_after_s = retry_after_s
        self.inflight_bytes = 0
        self.peak_bytes = 0
        self.late_max_bytes = inflight_max_bytes // 2
        self.late_bytes = 0
        self.refused = 0
        self._short = False

    @property
    def healthy(self) -> bool:
        """False from a refusal until half of the bound is free again."""
        return not self._short

    def reservation(self) -> Reservation:
        """An empty reservation; use as a context manager, which releases it."""
        return Reservation(self)

    def _check(self, size_bytes: int, already_bytes: int) -> None:
        needed_bytes = already_bytes + size_bytes
        if needed_bytes > self.inflight_max_bytes:
            raise MessageTooLarge(
                "request in memory", needed_bytes, "ingest.inflight_max", self.inflight_max_bytes
            )
        if self.inflight_bytes + size_bytes > self.inflight_max_bytes:
            self.refused += 1
            self._short = self.inflight_bytes > self.inflight_max_bytes * _RECOVERED
            raise Overloaded("ingest.inflight_max is reached", self.retry_after_s)

    def _take(self, size_bytes: int, already_bytes: int) -> None:
        self._check(size_bytes, already_bytes)
        self.inflight_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.inflight_bytes)

    def _take_late(self, size_bytes: int, already_bytes: int) -> None:
        others_bytes = self.late_bytes - already_bytes
        if others_bytes and self.late_bytes + size_bytes > self.late_max_bytes:
            self.refused += 1
            raise Overloaded(
                "requests that are slow to arrive hold half of ingest.inflight_max",
                self.retry_after_s,
            )
        self.late_bytes += size_bytes

    def _give_back(self, size_bytes: int) -> None:
        self.inflight_bytes -= size_bytes
        if self._short and self.inflight_bytes <= self.inflight_max_bytes * _RECOVERED:
            self._short = False


class Reservation:
    """The share of one request; grows with what is read and inflated."""

    __slots__ = ("_admission", "_is_late", "size_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size_bytes = 0
        self._is_late = False

    def check(self, size_bytes: int) -> None:
        """Reserve nothing, but raise what :meth:`grow` would."""
        self._admission._check(size_bytes, self.size_bytes)

    def grow(self, size_bytes: int) -> None:
        """Reserve more.

        Raises:
            Overloaded: others hold too much of the bound.
            MessageTooLarge: this request alone exceeds the bound.
        """
        admission = self._admission
        admission._take(size_bytes, self.size_bytes)
        if self._is_late:
            try:
                admission._take_late(size_bytes, self.size_bytes)
            except Overloaded:
                admission._give_back(size_bytes)
                raise
        self.size_bytes += size_bytes

    def shrink(self, size_bytes: int) -> None:
        """Give some of it back."""
        self._admission._give_back(size_bytes)
        if self._is_late:
            self._admission.late_bytes -= size_bytes
        self.size_bytes -= size_bytes

    def late(self, at_least_bytes: int = 0) -> None:
        """The body is slow to arrive: what it holds counts among the late ones too.

        At least ``at_least_bytes``, but not more than the share of late ones, are held from now.

        Raises:
            Overloaded: late ones hold their share, or others too much of the bound.
        """
        admission = self._admission
        admission._take_late(self.size_bytes, 0)
        self._is_late = True
        more_bytes = min(at_least_bytes, admission.late_max_bytes) - self.size_bytes
        if more_bytes > 0:
            self.grow(more_bytes)

    def arrived(self) -> None:
        """The body is whole, or given up: nothing of it counts among the late ones any more."""
        if self._is_late:
            self._admission.late_bytes -= self.size_bytes
            self._is_late = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.arrived()
        self.shrink(self.size_bytes)
