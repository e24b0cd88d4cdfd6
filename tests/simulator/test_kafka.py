"""The simulated brokers do what docs and measurements say of the real ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from schemas.batches import Record
from schemas.errors import BrokerUnavailable
from topologies.runtime.ports import Fenced, Offset, RecordsRefused

from .client import Network, SimLog, SimTransactions
from .kafka import Kafka
from .loop import Process, SimLoop


class Bench:
    def __init__(self, seed: int, marker_delay_s: float) -> None:
        self.loop = SimLoop(random.Random(seed), shuffle=True)
        rng = random.Random(seed)
        self.kafka = Kafka(
            self.loop, rng, marker_delay_s=lambda: rng.random() * marker_delay_s, value_max=100
        )
        self.kafka.create("out", 2)
        self.network = Network(self.kafka, rng)
        self.log = SimLog(self.network)

    def producer(self, transactional_id: str = "id") -> SimTransactions:
        return SimTransactions(self.network, transactional_id)

    async def values(self, partition: int = 0) -> list[bytes]:
        stop = await self.log.end("out", partition)
        runs = self.log.read("out", partition, 0, stop)
        return [batch.value async for run in runs for batch in run]

    def faults(self, **by_kind: tuple[str, float]) -> None:
        def fault(kind: str, process: str) -> tuple[str, float] | None:
            return by_kind.pop(kind, None)

        self.network.fault = fault


def record(value: bytes, partition: int = 0, key: bytes | None = None) -> Record:
    return Record("out", value, partition, key)


def simulate(
    main: Callable[[Bench], Awaitable[None]], seeds: int = 20, marker_delay_s: float = 0.05
) -> None:
    for seed in range(seeds):
        bench = Bench(seed, marker_delay_s)
        bench.loop.run_until_complete(main(bench))
        assert not bench.loop.errors
        bench.loop.shut()


def test_a_transaction_is_seen_as_a_whole_and_counts_a_marker() -> None:
    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        offsets = await producer.commit(
            [record(b"a"), record(b"b", 1), record(b"c")], Offset("g", "src", 0, 7)
        )
        assert list(offsets) == [0, 0, 1]
        await bench.producer().start()  # waits for the markers
        assert await bench.log.committed("g", "src", 0) == 7
        assert await bench.log.end("out", 0) == 3
        assert await bench.values() == [b"a", b"c"]
        assert await bench.values(1) == [b"b"]

    simulate(main)


def test_the_committed_offset_reads_old_for_a_while() -> None:
    old = []

    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        await producer.commit([record(b"a")], Offset("g", "src", 0, 7))
        old.append(await bench.log.committed("g", "src", 0) is None)

    simulate(main)
    assert any(old)
    assert not all(old)


def test_a_start_aborts_what_is_open_and_fences_its_owner() -> None:
    async def main(bench: Bench) -> None:
        old, new, other = bench.producer(), bench.producer(), bench.producer("other")
        await old.start()
        await other.start()
        bench.faults(commit=("lost", 0.0))
        with pytest.raises(BrokerUnavailable):
            await old.commit([record(b"a")], None)
        await other.commit([record(b"b")], None)
        await asyncio.sleep(1)  # its marker
        assert await bench.log.end("out", 0) == 0
        await new.start()
        assert await bench.values() == [b"b"]
        with pytest.raises(Fenced):
            await old.commit([record(b"c")], Offset("g", "src", 0, 1))
        await new.commit([record(b"d")], None)
        await asyncio.sleep(1)
        assert await bench.values() == [b"b", b"d"]
        assert await bench.log.committed("g", "src", 0) is None

    simulate(main)


def test_a_transaction_of_the_dead_holds_readers_back_until_its_timeout() -> None:
    async def main(bench: Bench) -> None:
        process = Process("p", bench.loop)

        async def work() -> None:
            producer = bench.producer()
            await producer.start()
            bench.faults(commit=("slow", 1e6))
            await producer.commit([record(b"a")], None)

        process.spawn(work())
        await asyncio.sleep(1)
        process.kill()
        assert await bench.log.end("out", 0) == 0
        await asyncio.sleep(58)
        assert await bench.log.end("out", 0) == 0
        await asyncio.sleep(2)
        assert await bench.log.end("out", 0) == 2
        assert await bench.values() == []

    simulate(main)


@pytest.mark.parametrize(("mode", "there"), [("lost", False), ("unanswered", True), ("late", True)])
def test_an_unknown_outcome_may_be_either(mode: str, there: bool) -> None:
    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        bench.faults(commit=(mode, 3.0))
        with pytest.raises(BrokerUnavailable):
            await producer.commit([record(b"a")], Offset("g", "src", 0, 1))
        await asyncio.sleep(4)
        assert await bench.values() == ([b"a"] if there else [])
        assert await bench.log.committed("g", "src", 0) == (1 if there else None)

    simulate(main)


def test_a_late_commit_of_a_fenced_producer_comes_to_nothing() -> None:
    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        bench.faults(commit=("late", 3.0))
        with pytest.raises(BrokerUnavailable):
            await producer.commit([record(b"a")], Offset("g", "src", 0, 1))
        await bench.producer().start()
        await asyncio.sleep(4)
        assert await bench.values() == []
        assert await bench.log.committed("g", "src", 0) is None

    simulate(main)


def test_a_cancelled_commit_happens_all_the_same() -> None:
    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        await producer.commit([record(b"a")], None)
        bench.faults(commit=("slow", 1.0))
        task = asyncio.ensure_future(producer.commit([record(b"b")], None))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.sleep(2)
        assert await bench.values() == [b"a", b"b"]

    simulate(main)


def test_a_record_that_is_too_large_spoils_nothing_but_its_transaction() -> None:
    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        records = [record(b"z"), record(b"x" * 101), record(b"y", 1)]
        with pytest.raises(RecordsRefused) as together:
            await producer.commit(records, Offset("g", "src", 0, 1))
        assert together.value.indices == [0, 1]
        producer = bench.producer()
        await producer.start()
        with pytest.raises(RecordsRefused) as alone:
            await producer.commit(records, None, apart=True)
        assert alone.value.indices == [1]
        await bench.producer().start()
        assert await bench.values(1) == []

    simulate(main)


def test_a_broker_that_was_away_carries_out_what_it_was_asked() -> None:
    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        bench.network.away_until = bench.loop.time() + 3
        await producer.commit([record(b"a")], None)
        assert bench.loop.time() > 3
        bench.network.away_until = bench.loop.time() + 30
        began = bench.loop.time()
        with pytest.raises(BrokerUnavailable):
            await producer.commit([record(b"b")], None)
        assert 4 < bench.loop.time() - began < 7

    simulate(main)


def test_compaction_keeps_the_last_committed_value_and_offsets() -> None:
    async def main(bench: Bench) -> None:
        producer = bench.producer()
        await producer.start()
        for value, key in [(b"1", b"a"), (b"2", b"b"), (b"3", b"a"), (b"", b"b")]:
            await producer.commit([record(value, key=key)], None)
        bench.faults(commit=("lost", 0.0))
        with pytest.raises(BrokerUnavailable):
            await producer.commit([record(b"4", key=b"a")], None)
        await bench.producer().start()
        log = bench.kafka.log("out", 0)
        log.compact(log.end)
        assert log.end == 10
        assert await bench.values() == [b"3", b""]
        log.compact(log.end)
        assert await bench.values() == [b"3"]
        log.trim(5)
        assert await bench.log.begin("out", 0) == 5
        assert await bench.values() == []

    simulate(main)
