"""What comes in: messages of every partition, and what they name ranges of."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from schemas.batches import Record
from schemas.errors import OtlpStreamsError
from topologies.runtime.ports import Fenced

from . import operators
from .client import SimTransactions
from .kafka import TP

if TYPE_CHECKING:
    from .world import World

__all__ = ["Feeding"]


class Feeding:
    """Writers that nothing happens to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._kafka = world.kafka
        self._schedule = world.schedule
        self._fed = 0
        self._feeders: list[asyncio.Task[None]] = []
        self._asked_to: dict[TP, int] = {}
        self.quoted: dict[TP, list[int]] = {}
        """Offsets of what is quoted, before retention comes."""
        self._kafka.create(operators.QUOTED, self._schedule.partitions)
        for log in self._kafka.partitions(operators.QUOTED):
            self._fill(log.tp)

    async def start(self) -> None:
        """Return when what is quoted is there."""
        logs = self._kafka.partitions(operators.QUOTED)
        while any(log.open for log in logs):
            await asyncio.sleep(0.01)
        self.quoted = {log.tp: [b.offset for b in log.committed(0, log.end)[0]] for log in logs}
        for topic in self._world.sources:
            for number in range(self._schedule.partitions):
                self.feed(TP(topic, number))

    def feed(self, tp: TP) -> None:
        """Write to a partition."""
        self._feeders.append(self._world.loop.create_task(self._feed(tp)))

    @property
    def under_way(self) -> bool:
        """More comes."""
        return self._fed < len(self._feeders)

    async def end(self) -> None:
        """Wait until all is written."""
        await asyncio.gather(*self._feeders)

    def last(self) -> None:
        """One more for each partition."""
        for topic in self._world.sources:
            for log in self._kafka.partitions(topic):
                key = f"{topic}-{log.tp.partition}-last".encode()
                self._kafka.write(Record(topic, b"k0 k1", log.tp.partition, key))

    def _fill(self, tp: TP) -> None:
        """What is quoted: some of it in transactions, some of which were aborted."""
        kafka = self._kafka
        for number in range(12):
            writer, draw = f"writer {tp.partition} {number}", self._rng.random()
            records = [Record(tp.topic, b"%d" % n, tp.partition) for n in range(2)]
            if draw < 0.5:
                kafka.write(records[0])
                continue
            epoch = kafka.start(writer)
            kafka.produce(writer, epoch, records)
            if draw < 0.8:
                kafka.finish(writer, epoch)
            else:
                kafka.abort(writer)

    async def _feed(self, tp: TP) -> None:
        """Messages, some in transactions of others; some poison, some empty."""
        rng = random.Random(f"input {self._schedule.seed} {tp.topic} {tp.partition}")
        left, spread_s = self._schedule.messages, self._schedule.spread_s
        writer, number = f"foreign {tp.topic} {tp.partition}", 0
        while not self.quoted:
            await asyncio.sleep(0.01)
        while left > 0:
            run = min(left, 1 + int(rng.random() * 4))
            left -= run
            records = []
            for _ in range(run):
                records.append(self._message(tp, number, rng))
                number += 1
            if rng.random() < 0.75:
                for record in records:
                    self._kafka.write(record)
            else:
                await self._foreign(writer, records, commit=rng.random() < 0.6)
            if spread_s:
                await asyncio.sleep(rng.random() * 2 * spread_s * run / self._schedule.messages)
        self._fed += 1

    async def _foreign(self, writer: str, records: list[Record], *, commit: bool) -> None:
        """A transaction of somebody else; over when this returns, whatever became of it."""
        producer = await self._begun(writer)
        if commit:
            with contextlib.suppress(OtlpStreamsError, Fenced):
                await producer.commit(records, None)
        else:
            assert producer._epoch is not None
            self._kafka.produce(writer, producer._epoch, records)
            await asyncio.sleep(self._rng.random() * 0.3)
        await self._begun(writer)

    async def _begun(self, writer: str) -> SimTransactions:
        while True:
            producer = SimTransactions(self._world.network, writer)
            with contextlib.suppress(OtlpStreamsError):
                await producer.start()
                return producer

    def _message(self, tp: TP, number: int, rng: random.Random) -> Record:
        key = f"{tp.topic}-{tp.partition}-{number}".encode()
        draw = rng.random()
        value = " ".join(f"k{int(rng.random() * 5)}" for _ in range(1 + number % 3)).encode()
        if draw < 0.06:
            value = b"!" + value
        elif draw < 0.10:
            value += b" refused"
        elif draw < 0.2 and self._schedule.refusals:
            value += b" huge"
        elif draw < 0.14:
            value = b""
        elif draw > 0.75:
            value += b" " + self._asked(tp, rng).encode()
        return Record(tp.topic, value, tp.partition, key)

    def _asked(self, tp: TP, rng: random.Random) -> str:
        """Mostly what follows on the range before; seldom what was never there."""
        partition = tp.partition % len(self.quoted)
        end = self._kafka.log(operators.QUOTED, partition).end
        start = self._asked_to.get(tp, 0) if rng.random() < 0.8 else int(rng.random() * end)
        stop = self._asked_to[tp] = min(end, start + int(rng.random() * 7))
        return operators.asks(partition, start, stop + 2 * (stop == end and rng.random() < 0.1))
