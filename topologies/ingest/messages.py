"""Messages that are being filled: what several requests share until linger or size ends it."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from schemas.batches import Headers

__all__ = ["Address", "Answer", "OpenMessage"]


class Address(NamedTuple):
    """Where a message goes; only what has the same address may share one."""

    topic: str
    partition: int
    headers: Headers


class Answer:
    """What one request waits for: every message that carries a part of it.

    One future a request rather than one a part, because a request of 500 spans has a part on
    every partition.
    """

    __slots__ = ("_open", "error", "future")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.error: Exception | None = None
        self._open = 1

    def expect(self) -> None:
        """One more message has to be acknowledged."""
        self._open += 1

    def give_up(self, error: Exception) -> None:
        """Wait no longer: the request hears ``error``."""
        if not self.future.done():
            self.future.set_exception(error)

    def arrived(self, error: Exception | None = None) -> None:
        """One message was acknowledged, or failed with ``error``. The first error is kept."""
        self.error = self.error or error
        self._open -= 1
        if self._open == 0 and not self.future.done():
            if self.error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(self.error)


class OpenMessage:
    """Parts of requests, side by side; protobuf concatenation merges them."""

    __slots__ = ("address", "answers", "parts", "size_bytes")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.parts: list[bytes] = []
        self.answers: list[Answer] = []
        self.size_bytes = 0

    def add(self, part: bytes, answer: Answer) -> None:
        """Take a part; its request hears when this message is acknowledged."""
        self.parts.append(part)
        self.size_bytes += len(part)
        self.answers.append(answer)
        answer.expect()

    def close(self, error: Exception | None) -> None:
        """Tell every request that waits for this message."""
        for answer in self.answers:
            answer.arrived(error)
