"""Time that stands still until told otherwise, and a Kafka that is a list."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence

from schemas.batches import Batch, Record
from topologies.control.view import LaneControl
from topologies.runtime.calls import Backoff, LastingCalls, SinkCalls
from topologies.runtime.deadletter import dead_letter
from topologies.runtime.lane import Lane, LaneLimits
from topologies.runtime.metrics import LaneCounts
from topologies.runtime.stage import LastingSink, Sink


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def unix_ns(self) -> int:
        return int(self.now_s * 1e9)

    def jitter(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._count += 1
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + seconds, self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        end = self.now_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now_s, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            await settle()
        self.now_s = end


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(30):
        await asyncio.sleep(0)


class FakeReceipt:
    def __init__(self, kafka: FakeKafka, records: Sequence[Record]) -> None:
        self._kafka = kafka
        self.unacknowledged = list(records)

    async def acknowledged(self) -> None:
        await self._kafka.gate.wait()
        while self.unacknowledged:
            if self._kafka.errors and (error := self._kafka.errors.pop(0)) is not None:
                raise error
            self._kafka.log.append(self.unacknowledged.pop(0))


class FakeKafka:
    def __init__(self) -> None:
        self.log: list[Record] = []
        self.errors: list[Exception | None] = []
        """What the next acknowledgements are; None for success."""
        self.enqueued: list[Record] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def enqueue(self, records: Sequence[Record]) -> FakeReceipt:
        self.enqueued.extend(records)
        return FakeReceipt(self, records)


class Bench:
    """A lane on a bench: what it asks of its host is written down."""

    def __init__(
        self,
        *,
        sink: Sink,
        max_inflight: int = 4,
        merge_max_bytes: int = 1000,
        ahead_max: int = 10_000,
        limit_bytes: int = 10_000,
        control: LaneControl | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.kafka = FakeKafka()
        self.counts = LaneCounts()
        self.events: list[str] = []
        self.fatals: list[BaseException] = []
        common = {
            "publisher": self.kafka,
            "dead_letter": lambda batch, error: dead_letter("dl", "test", batch, error, 5),
            "backoff": Backoff(1.0, 8.0),
            "clock": self.clock,
            "counts": self.counts,
        }
        kind = LastingCalls if isinstance(sink, LastingSink) else SinkCalls
        calls = kind(sink, **common)  # type: ignore[arg-type]
        self.lane = Lane(
            "t", 0, 1,
            calls=calls,
            limits=LaneLimits(max_inflight, merge_max_bytes, ahead_max),
            limit_bytes=limit_bytes,
            port=self, counts=self.counts, control=control,
        )  # fmt: skip
        self.lane.start()

    def lane_full(self, lane: Lane) -> None:
        self.events.append("full")

    def lane_drained(self, lane: Lane) -> None:
        self.events.append("drained")

    def fatal(self, error: BaseException) -> None:
        self.fatals.append(error)

    def put(self, *offsets: int, value: bytes = b"x", headers: tuple = ()) -> None:
        for offset in offsets:
            self.lane.put(Batch("t", 0, offset, 0, None, value, headers))
        self.lane.wake()

    @property
    def committable(self) -> int | None:
        return self.lane.ledger.committable


class ListSink:
    """Answers each call by ``answer(offsets)``: None, an exception, or an awaitable."""

    def __init__(self, answer: Callable[[list[int]], object] = lambda _: None) -> None:
        self.calls: list[list[int]] = []
        self.answer = answer

    async def deliver(self, batches: Sequence[Batch]) -> None:
        offsets = [batch.offset for batch in batches]
        self.calls.append(offsets)
        result = self.answer(offsets)
        if isinstance(result, BaseException):
            raise result
        if result is not None:
            await result  # type: ignore[misc]
