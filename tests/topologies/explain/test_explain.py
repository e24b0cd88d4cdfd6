"""What topics say about a trace, on a real Kafka with records made by hand."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.config import Config, TopicNames
from schemas.errors import ConfigurationError
from schemas.records.sampling import EARLY, KEPT
from schemas.signals import Signal
from schemas.topics import topic_specs
from streams import wire
from tests.strategies import REQUESTS
from tests.streams.sampling.test_explain import order, trace, verdicts
from topologies.explain import parse_trace_id, search
from topologies.explain.reading import newest_first
from topologies.explain.show import as_rows
from topologies.kafka import create_topics
from topologies.localkafka import LocalKafka

PARTITIONS = 3


@pytest.fixture
def config(kafka: LocalKafka, group: str) -> Config:
    names = {each: f"{group}.{each}" for each in TopicNames.model_fields}
    return Config.model_validate(
        {
            "kafka": {"brokers": [kafka.bootstrap], "group_prefix": group},
            "topics": {"partitions": PARTITIONS, "replication_factor": 1, "names": names},
            "sampling": {"enabled": True},
        }
    )


def spans(*numbers: int) -> bytes:
    """A span of each trace."""
    request = REQUESTS[Signal.TRACES]()
    scope = request.resource_spans.add().scope_spans.add()
    for number in numbers:
        scope.spans.add(trace_id=trace(number), span_id=b"s" * 8)
    data: bytes = request.SerializeToString()
    return data


def partition(number: int, partitions: int = PARTITIONS) -> int:
    return wire.partition_of_trace(trace(number), partitions)


def on(wanted: int, *, but: int = 0) -> int:
    """A trace of that partition."""
    return next(n for n in range(but + 1, 1000) if partition(n) == wanted)


async def commit_emit(config: Config, number: int, offset: int) -> None:
    """As if emit had come so far."""
    place = TopicPartition(config.topics.names.decisions, number)
    async with AIOKafkaConsumer(
        bootstrap_servers=list(config.kafka.brokers),
        group_id=f"{config.kafka.group_prefix}.emit",
        enable_auto_commit=False,
    ) as consumer:
        consumer.assign([place])
        await consumer.commit({place: offset})


async def test_what_becomes_of_a_trace(config: Config) -> None:
    names = config.topics.names
    with pytest.raises(ConfigurationError, match=r"there is no topic .*: nothing was sampled"):
        await search(config, trace(1))
    await create_topics(config.kafka, topic_specs(config))
    here = 1
    kept = on(here)
    dropped = on(here, but=kept)
    waiting = on(here, but=dropped)
    unknown = on(here, but=waiting)
    moved = next(n for n in range(unknown + 2, 1000) if partition(n) == here != partition(n, 2))
    async with AIOKafkaProducer(bootstrap_servers=list(config.kafka.brokers)) as producer:

        async def put(topic: str, value: bytes, where: int = here, source: str = "") -> int:
            headers = [("sampling.source", source.encode())] if source else []
            sent = await producer.send_and_wait(topic, value, partition=where, headers=headers)
            return int(sent.offset)

        for number in range(40):  # what is before 30 is decided
            of = {3: (unknown,), 34: (waiting,), 37: (waiting, waiting)}
            await put(names.spans, spans(*of.get(number, (unknown + 1,))))
        await put(names.decisions, b"damaged")
        await put(names.decisions, order(0, 10, {unknown + 1: 0}).encode())
        at = await put(
            names.decisions,
            verdicts(1_700_000_000_123, {kept: (0, KEPT | EARLY), dropped: (1, 0)}).encode(),
        )
        done = await put(names.decisions, order(10, 20, {kept: 0}).encode())
        late = replace(order(20, 30, {kept: 0}), partitions=((0, 2), (30, PARTITIONS)))
        await put(names.decisions, late.encode())
        await put(names.decisions, verdicts(1, {moved: (0, KEPT)}).encode(), partition(moved, 2))
        await commit_emit(config, here, done + 1)
        await put(names.spans_out, spans(kept), source="otlp_spans/3/0-10")  # of another time
        first = await put(names.spans_out, spans(kept, kept, dropped), source="otlp_spans/3/10-20")
        await put(names.spans_out, b"damaged", source="otlp_spans/3/10-20")
        second = await put(names.spans_out, spans(kept), source="otlp_spans/3/10-20")
        await put(names.spans_out, spans(kept), source="otlp_spans/3/20-30")
        await put(names.spans_out, spans(kept), source="otlp_spans/3/30-40")

    answer = await search(config, trace(kept))
    assert (answer.state, answer.partition) == ("kept", here)
    assert [(each.offset, each.spans) for each in answer.deliveries] == [(first, 2), (second, 1)]
    assert [each.start for each in answer.undone] == [20]
    told = answer.as_dict()
    assert told["verdict"]["offset"] == at
    assert (told["verdict"]["early"], told["verdict"]["key"]) == (True, "cart")
    assert told["verdict"]["adjusted_count"] == 2
    assert [(each["source"], each["done"]) for each in told["orders"]] == [
        ("otlp_spans/3/10-20", True),
        ("otlp_spans/3/20-30", False),
    ]
    assert sum(each["unreadable"] for each in told["searched"]) == 2
    words = "\n".join(f"{what} {known}" for what, known in as_rows(answer, config))
    for said in (
        ": kept", "2023-11-14 22:13:20.123 UTC; early", "cart (tenant, service)", "policy rest",
        "0.5, threshold th:8, stands for 2 traces", "from 20 to 30; emit has not come to it yet",
        f"{names.spans_out}/{here} offset {first} at ",
    ):  # fmt: skip
        assert said in words

    answer = await search(config, trace(dropped))
    assert (answer.state, answer.deliveries, answer.orders) == ("dropped", [], [])
    words = "\n".join(known for _, known in as_rows(answer, config))
    assert "not known" in words, "errors are kept for no probability that could be said"

    answer = await search(config, trace(waiting))
    assert answer.state == "open"
    assert answer.waiting is not None
    assert (answer.waiting.spans, answer.waiting.first_offset, answer.waiting.last_offset) == (
        3, 34, 37,
    )  # fmt: skip
    assert "3 on " in "\n".join(known for _, known in as_rows(answer, config))

    answer = await search(config, trace(unknown))
    assert answer.state == "unknown"
    assert [(s.topic, s.partition, s.start) for s in answer.searched][:2] == [
        (names.decisions, here, 0),
        (names.spans, here, 30),
    ], "what is before the last order was decided"
    words = "\n".join(known for _, known in as_rows(answer, config))
    assert "no verdict" in words
    assert "never came here" in words
    assert "its verdict is older than 3d (topics.decisions_retention)" in words
    assert "0.05 to 0.08 % of new traces are taken for late spans of a dropped one" in words

    # Decided when the topic had two partitions.
    answer = await search(config, trace(moved))
    assert (answer.state, answer.partition) == ("kept", partition(moved, 2))

    in_an_hour_ms = round(time.time() * 1000) + 3_600_000
    assert (await search(config, trace(kept), in_an_hour_ms)).state == "unknown"
    an_hour_ago_ms = in_an_hour_ms - 7_200_000
    assert (await search(config, trace(kept), an_hour_ago_ms)).state == "kept"


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 6), (0, 64), (3, 10_000), (7, 7)])
def test_blocks_cover_all_the_newest_first(start: int, stop: int) -> None:
    blocks = list(newest_first(start, stop))
    covered = [offset for begin, end in reversed(blocks) for offset in range(begin, end)]
    assert covered == list(range(start, stop))
    assert max((end - begin for begin, end in blocks), default=0) <= 4096


@pytest.mark.parametrize("text", ["", "12", "0" * 32, "g" * 32, "a" * 33, "-" * 32])
def test_what_is_no_trace_id(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no trace id"):
        parse_trace_id(text)


def test_a_trace_id_in_either_case() -> None:
    assert parse_trace_id("4BF92F3577B34DA6A3CE929D0E0E4736").hex().startswith("4bf92f35")
