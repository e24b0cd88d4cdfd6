"""The runtime's ports over the simulated brokers: what happens between asking and hearing.

A request goes out, is carried out at the broker some time later, and is answered. Once sent, it
is carried out whatever becomes of the task that waits for it (cancelled, killed, paused). A fault
does one of these to a request:

    lost        it never arrives; the client hears of a timeout
    unanswered  it is carried out; the client hears of a timeout
    late        the client hears of a timeout; it is carried out up to some seconds after that
    slow        it takes seconds
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from schemas.batches import Batch, Record
from schemas.errors import BrokerUnavailable
from topologies.runtime.ports import Fenced, Fetched, Offset, RecordsRefused

from .kafka import Busy, Kafka
from .loop import Process

__all__ = ["Network", "SimLog", "SimReader", "SimTransactions"]

RETRY_S = 0.02
"""Pause of a client that is told to ask again."""


class Network:
    """Between clients and brokers. ``fault`` is asked for each request: kind, process name.

    A broker that is away answers nothing until ``away_until``; requests wait for it, and give up
    after ``timeout_s``, though the broker may still carry them out.
    """

    def __init__(self, kafka: Kafka, rng: random.Random, *, timeout_s: float = 5.0) -> None:
        self.kafka = kafka
        self.timeout_s = timeout_s
        self.away_until = 0.0
        self.latency_s = 0.002
        self.fault: Callable[[str, str], tuple[str, float] | None] = lambda kind, process: None
        self.requests = 0
        self._draw = rng.random
        self._loop = kafka.loop
        self._context = contextvars.Context()

    def draw(self, upto: int) -> int:
        """A number below ``upto``."""
        return int(self._draw() * upto)

    async def request(self, kind: str, effect: Callable[[], Any]) -> Any:
        """Have ``effect`` carried out. Raises BrokerUnavailable, or what it raises."""
        process = Process.current()
        self.requests += 1
        fault = self.fault(kind, process.name if process else "")
        name, seconds = fault or ("", 0.0)
        loop, context = self._loop, self._context
        answer: asyncio.Future[Any] = loop.create_future()
        delay_s = self._draw() * self.latency_s
        if name in ("", "slow"):
            loop.call_later(
                delay_s + seconds, self._carry_out, effect, answer, loop.time(), context=context
            )
            return await answer
        if name != "lost":
            after_s = seconds if name == "late" else delay_s
            unheard: asyncio.Future[Any] = loop.create_future()
            loop.call_later(
                after_s, self._carry_out, effect, unheard, loop.time() + seconds, context=context
            )
        refusal = BrokerUnavailable(f"{kind}: no answer ({name})")
        heard_s = delay_s * 2 if name != "late" else delay_s
        loop.call_later(heard_s, _fail, answer, refusal, context=context)
        return await answer

    def _carry_out(
        self, effect: Callable[[], Any], answer: asyncio.Future[Any], asked_at: float
    ) -> None:
        loop = self._loop
        if loop.time() < self.away_until:
            if self.away_until - asked_at > self.timeout_s:
                wait_s = max(0.0, asked_at + self.timeout_s - loop.time())
                refusal = BrokerUnavailable("no answer (away)")
                loop.call_later(wait_s, _fail, answer, refusal, context=self._context)
            self._again(self.away_until - loop.time() + self._draw() * 0.1, effect, answer)
            return
        try:
            result = effect()
        except Busy:
            self._again(RETRY_S, effect, answer)
        except Exception as error:
            _fail(answer, error)
        else:
            if not answer.done():
                answer.set_result(result)

    def _again(
        self, delay_s: float, effect: Callable[[], Any], answer: asyncio.Future[Any]
    ) -> None:
        self._loop.call_later(
            delay_s, self._carry_out, effect, answer, self._loop.time(), context=self._context
        )


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # nobody may be waiting any more


class SimLog:
    """ports.Log."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kafka = network.kafka

    async def partitions(self, topic: str) -> int:
        count: int = await self._network.request(
            "partitions", lambda: len(self._kafka.partitions(topic))
        )
        return count

    async def record_max_bytes(self, topic: str) -> int | None:
        limit: int = await self._network.request("limit", lambda: self._kafka.limit(topic))
        return limit

    def reader(self, topic: str, partition: int) -> SimReader:
        return SimReader(self._network, topic, partition)

    async def begin(self, topic: str, partition: int) -> int:
        log = self._kafka.log(topic, partition)
        begin: int = await self._network.request("begin", lambda: log.begin)
        return begin

    async def end(self, topic: str, partition: int) -> int:
        log = self._kafka.log(topic, partition)
        end: int = await self._network.request("end", lambda: log.stable)
        return end

    async def written(self, topic: str, partition: int) -> int:
        log = self._kafka.log(topic, partition)
        end: int = await self._network.request("end", lambda: log.end)
        return end

    async def read(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Batch]]:
        log = self._kafka.log(topic, partition)
        position = start
        while position < stop:
            limit = 1 + self._network.draw(6)
            found, following = await self._network.request(
                "read", lambda at=position, n=limit: log.committed(at, stop, n)
            )
            if following <= position and following < stop:
                await asyncio.sleep(0.1)  # behind an open transaction
            position = following
            if found:
                yield found

    async def close(self) -> None:
        await asyncio.sleep(0)

    async def committed(self, group: str, topic: str, partition: int) -> int | None:
        offset: int | None = await self._network.request(
            "committed", lambda: self._kafka.committed(group, topic, partition)
        )
        return offset


class SimReader:
    """ports.Reader: it stays where it stands, and a fetch may bring more than was asked for."""

    def __init__(self, network: Network, topic: str, partition: int) -> None:
        self._network = network
        self._log = network.kafka.log(topic, partition)
        self._held: list[Batch] = []
        self._next = self._position = -1

    async def fetch(self, offset: int, stop: int) -> Fetched:
        if not self._next <= offset <= self._position:
            self._held, self._position = [], offset
        self._held = [batch for batch in self._held if batch.offset >= offset]
        if not self._held:
            at, limit = max(self._position, self._log.begin), 1 + self._network.draw(4)
            if at <= self._log.stable:
                found, self._position = await self._network.request(
                    "read", lambda: self._log.committed(at, self._log.stable, limit)
                )
                self._held += found
        ours = [batch for batch in self._held if batch.offset < stop]
        self._held = self._held[len(ours) :]
        self._next = min(stop, self._position)
        return Fetched(ours, self._next)

    async def close(self) -> None:
        self._held, self._next, self._position = [], -1, -1


class SimTransactions:
    """ports.Transactions: what the one over aiokafka does, request by request.

    It goes on after an error as if nothing had been, with the transaction that is still open:
    a lane that used it again would be seen to repeat.
    """

    def __init__(self, network: Network, transactional_id: str) -> None:
        self.id = transactional_id
        self._network = network
        self._kafka = network.kafka
        self._epoch: int | None = None
        self._committing = False

    async def start(self) -> None:
        self._epoch = await self._network.request("start", lambda: self._kafka.start(self.id))

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        if self._committing:
            raise AssertionError("one transaction at a time")
        if self._epoch is None:
            raise AssertionError("not started")
        self._committing = True
        try:
            return await self._commit(records, offset, apart=apart)
        finally:
            self._committing = False

    async def _commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool
    ) -> Sequence[int]:
        epoch, request, kafka = self._epoch, self._network.request, self._kafka
        assert epoch is not None
        runs: dict[tuple[str, int | None], list[int]] = {}
        for index, record in enumerate(records):
            runs.setdefault((record.topic, record.partition), []).append(index)
        offsets = [0] * len(records)

        async def send(indices: list[int]) -> None:
            run = [records[index] for index in indices]
            try:
                got = await request("send", lambda: kafka.produce(self.id, epoch, run))
            except ValueError as error:
                raise RecordsRefused(f"{run[0].topic}: {error}", indices) from error
            for index, at in zip(indices, got, strict=True):
                offsets[index] = at

        async def send_offset(offset: Offset) -> None:
            await request("offset", lambda: kafka.add_offset(self.id, epoch, offset))

        if apart:
            for index in range(len(records)):
                await send([index])
            runs.clear()
        steps = [send(indices) for indices in runs.values()]
        if offset is not None:
            steps.append(send_offset(offset))
        await self._gathered(steps)
        await request("commit", lambda: kafka.finish(self.id, epoch))
        return offsets

    async def _gathered(self, steps: list[Any]) -> None:
        """Every step awaited; then the worst of what went wrong."""
        if len(steps) == 1:
            results = [await _outcome(steps[0])]
        else:
            results = await asyncio.gather(*steps, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        errors.sort(key=lambda error: not isinstance(error, Fenced))
        for error in errors:
            raise error

    async def stop(self) -> None:
        await asyncio.sleep(0)


async def _outcome(step: Any) -> BaseException | None:
    try:
        await step
    except Exception as error:
        return error
    return None
