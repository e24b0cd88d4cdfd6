"""What one call of a sink goes through: tries, pauses, the dead-letter topic.

Errors are answered as stage.py says. A pause is the other side's wish if it had one, else
exponential between half and all of ``initial x 2^n``; never longer than ``runtime.retry_maximum``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from schemas.batches import Batch, Record
from schemas.errors import MessageTooLarge, PermanentError, RetryableError
from schemas.records import Value

from .clock import Clock
from .deadletter import without_value
from .metrics import LaneCounts
from .stage import LastingSink, Sink

__all__ = ["Backoff", "Calls", "LastingCalls", "Publisher", "Receipt", "SinkCalls"]

_SinkT = TypeVar("_SinkT", bound=Sink)

_log = logging.getLogger(__name__)


class Receipt(Protocol):
    """Records handed to Kafka; see outbox.py."""

    unacknowledged: list[Record]

    async def acknowledged(self) -> None:
        """Return when all are acknowledged, or raise."""
        ...


class Publisher(Protocol):
    """The way to Kafka; see outbox.py."""

    async def enqueue(self, records: Sequence[Record]) -> Receipt:
        """Hand records over, in order."""
        ...


class Backoff(NamedTuple):
    """Pauses between tries, in seconds."""

    initial_s: float
    maximum_s: float

    def pause_s(self, failures: int, hint_s: float | None, jitter: float) -> float:
        """Pause after the ``failures``-th failure in a row, counted from 1."""
        if hint_s is not None:
            return min(max(hint_s, 0.0), self.maximum_s)
        ceiling = min(self.maximum_s, self.initial_s * 2.0 ** min(failures - 1, 60))
        return ceiling * (0.5 + 0.5 * jitter)


class Calls(Generic[_SinkT]):
    """The gate that a freeze closes, and the retry loop."""

    def __init__(
        self,
        sink: _SinkT,
        *,
        publisher: Publisher,
        dead_letter: Callable[[Batch, PermanentError], Record],
        backoff: Backoff,
        clock: Clock,
        counts: LaneCounts,
    ) -> None:
        self._sink = sink
        self._publisher = publisher
        self._dead_letter = dead_letter
        self._backoff = backoff
        self._clock = clock
        self._counts = counts
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._running = 0
        self._failing = 0

    def start(self) -> None:
        """The lane begins."""

    def adjust(self, name: str, value: Value) -> None:
        """A setting has this value."""

    def close(self) -> None:
        """The lane is gone."""

    def freeze(self) -> None:
        """Let no further try begin."""
        self._open.clear()

    def thaw(self) -> None:
        """Let tries begin again."""
        self._open.set()

    async def unfrozen(self) -> None:
        """Wait for :meth:`thaw`."""
        await self._open.wait()

    async def idle(self) -> None:
        """Wait until no try runs."""
        await self._idle.wait()

    async def begin(self, group: Sequence[Batch]) -> Awaitable[None]:
        """Start on a group; what is returned ends when the group is finished."""
        return self._deliver(group)

    async def _deliver(self, group: Sequence[Batch]) -> None:
        raise NotImplementedError

    def _enter(self) -> None:
        self._running += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def _retrying(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Try until it is no RetryableError."""
        failures = 0
        try:
            while True:
                await self._open.wait()
                self._enter()
                try:
                    await attempt()
                except RetryableError as error:
                    failures += 1
                    pause_s = self._failed(error, failures)
                else:
                    return
                finally:
                    self._leave()
                await self._clock.sleep(pause_s)
        finally:
            self._failing -= failures > 0

    def _failed(self, error: RetryableError, failures: int) -> float:
        self._counts.retries += 1
        pause_s = self._backoff.pause_s(failures, error.retry_after_s, self._clock.jitter())
        if failures == 1:
            if not self._failing:
                _log.warning("will try again in %.1f s: %s", pause_s, error)
            self._failing += 1
        return pause_s

    async def _bury(self, batch: Batch, error: PermanentError) -> None:
        record = self._dead_letter(batch, error)

        async def attempt() -> None:
            await (await self._publisher.enqueue([record])).acknowledged()

        try:
            await self._retrying(attempt)
        except MessageTooLarge:
            record = without_value(record)
            await self._retrying(attempt)
        self._counts.dead_letters[error.reason] += 1
        _log.warning(
            "dead letter: %s partition %d offset %d: %s",
            batch.topic, batch.partition, batch.offset, error,
        )  # fmt: skip


class SinkCalls(Calls[Sink]):
    """Calls of a sink; one takes as many batches as the lane merges."""

    # One culprit among n costs about 2 log2 n calls more, and its neighbours stay together.
    async def _deliver(self, group: Sequence[Batch]) -> None:
        async def attempt() -> None:
            self._counts.calls += 1
            await self._sink.deliver(group)

        try:
            await self._retrying(attempt)
        except PermanentError as error:
            if len(group) == 1:
                await self._bury(group[0], error)
                return
            middle = len(group) // 2
            await self._deliver(group[:middle])
            await self._deliver(group[middle:])
        else:
            self._counts.messages_out += len(group)
            self._counts.bytes_out += sum(len(batch.value) for batch in group)


class LastingCalls(Calls[LastingSink]):
    """Deliveries of a sink that lasts: they wait without being under way."""

    def start(self) -> None:
        """The lane begins."""
        self._sink.start()

    def adjust(self, name: str, value: Value) -> None:
        """A setting has this value."""
        self._sink.adjust(name, value)

    def close(self) -> None:
        """The lane is gone."""
        self._sink.close()

    def freeze(self) -> None:
        """Let nothing further begin."""
        super().freeze()
        self._sink.freeze()

    def thaw(self) -> None:
        """Let things begin again."""
        super().thaw()
        self._sink.thaw()

    async def idle(self) -> None:
        """Wait until nothing runs."""
        await self._sink.idle()
        await super().idle()

    async def _deliver(self, group: Sequence[Batch]) -> None:
        for batch in group:
            self._counts.calls += 1
            try:
                await self._sink.deliver([batch])
            except PermanentError as error:
                await self._bury(batch, error)
            else:
                self._counts.messages_out += 1
                self._counts.bytes_out += len(batch.value)
