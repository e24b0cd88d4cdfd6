"""``tap`` on a real Kafka, and how it shows what it finds."""

import asyncio
import base64
import contextlib
import json
import sys

import pytest
from aiokafka import AIOKafkaProducer

from schemas.config import Config, Kafka
from schemas.errors import ConfigurationError, MalformedMessage
from schemas.signals import Signal
from streams.wire import json as wire_json
from topologies.cli.tap import signal_of
from topologies.tap import Message, as_json, as_rows, follow

AT = 1_674_981_729_496_223_142


def spans() -> bytes:
    message = wire_json.REQUESTS[Signal.TRACES]()
    resource = message.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "cart"
    span = resource.scope_spans.add().spans.add(
        trace_id=b"\xab" * 16, span_id=b"\xcd" * 8, name="GET \x1b[31m/", kind=2,
        start_time_unix_nano=AT, end_time_unix_nano=AT + 1_500_000,
    )  # fmt: skip
    span.status.code, span.status.message = 2, "boom"
    return message.SerializeToString()


def logs() -> bytes:
    message = wire_json.REQUESTS[Signal.LOGS]()
    record = (
        message.resource_logs.add()
        .scope_logs.add()
        .log_records.add(observed_time_unix_nano=AT, severity_text="WARN", trace_id=b"\xab" * 16)
    )
    record.body.kvlist_value.values.add(key="a").value.array_value.values.add(int_value=1)
    return message.SerializeToString()


def metrics() -> bytes:
    message = wire_json.REQUESTS[Signal.METRICS]()
    metrics_ = message.resource_metrics.add().scope_metrics.add().metrics
    point = metrics_.add(name="cpu", unit="%").gauge.data_points.add(as_double=1.5)
    point.attributes.add(key="core").value.int_value = 3
    metrics_.add(name="size", unit="By").histogram.data_points.add(count=4, sum=10)
    metrics_.add(name="nothing")
    return message.SerializeToString()


def test_rows():
    assert list(as_rows(Signal.TRACES, spans())) == [
        ("08:42:09.496", "cart", "GET  [31m/", "server", "ERROR boom", "1.50 ms", "ab" * 16,
         "cd" * 8)
    ]  # fmt: skip
    assert list(as_rows(Signal.LOGS, logs())) == [
        ("08:42:09.496", "", "WARN", "{a: [1]}", "ab" * 16)
    ]
    assert list(as_rows(Signal.METRICS, metrics())) == [
        ("", "", "cpu", "gauge", "1.5 %", "core=3"),
        ("", "", "size", "histogram", "n=4 sum=10 By", ""),
    ]
    with pytest.raises(MalformedMessage):
        list(as_rows(Signal.LOGS, b"\xff"))


def test_json():
    message = Message("t", 1, 2, 3, b"k", spans(), (("tenant", b"\xff"),))
    document = json.loads(as_json(Signal.TRACES, message))
    assert document["headers"] == {"tenant": "\\xff"}
    span = document["value"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert span["traceId"] == "ab" * 16
    for signal, value in ((Signal.LOGS, b"\xff"), (None, b"abc")):
        document = json.loads(as_json(signal, message._replace(value=value)))
        assert base64.b64decode(document["value_base64"]) == value
        assert document["error"]


async def command(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "topologies.cli.main", "tap", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def producing(bootstrap, **options):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_tables_and_documents_of_a_topic(bootstrap, make_topic):
    topic = make_topic(3)
    async with producing(bootstrap) as producer:
        for partition in (0, 1, 2):
            await producer.send_and_wait(
                topic, spans(), partition=partition, headers=[("tenant", b"acme")]
            )
        await producer.send_and_wait(topic, b"\xff not otlp", partition=1)
    kafka = ("--brokers", bootstrap, "--from", "beginning", "--until-end", "--signal", "traces")
    code, out, err = await command(topic, *kafka, "--headers")
    assert code == 0, err
    assert out.count("GET") == 3
    assert out.count("tenant: acme") == 3
    assert "no traces request" in out
    assert "\x1b[31m" not in out

    code, out, err = await command(topic, *kafka, "--json", "--partition", "1")
    assert code == 0, err
    first, second = map(json.loads, out.splitlines())
    assert (first["partition"], first["offset"], first["headers"]) == (1, 0, {"tenant": "acme"})
    assert "value" in first
    assert "value_base64" in second

    code, out, _ = await command(topic, *kafka, "--json", "--max", "2")
    assert len(out.splitlines()) == 2


async def test_a_dead_letter_shows_its_reason_and_is_read_as_what_it_was(bootstrap, make_topic):
    topic = make_topic()
    reasons = [("deadletter.reason", b"refused"), ("deadletter.topic", b"otlp_logs")]
    async with producing(bootstrap) as producer:
        await producer.send_and_wait(topic, logs(), headers=reasons)
    code, out, err = await command(
        topic, "--brokers", bootstrap, "--from", "beginning", "--until-end"
    )
    assert code == 0, err
    assert "deadletter.reason: refused" in out
    assert "{a: [1]}" in out


@pytest.mark.parametrize(
    ("topic", "headers", "signal"),
    [
        ("kept", (), Signal.TRACES),
        ("raw", (), Signal.TRACES),
        ("otlp_metrics.out", (), Signal.METRICS),
        ("deadletter", (("deadletter.topic", b"kept"),), Signal.TRACES),
        ("words", (), None),
    ],
)
def test_what_is_on_a_topic_is_known_by_its_configured_name(topic, headers, signal):
    config = Config.model_validate({"topics": {"names": {"spans": "raw", "spans_out": "kept"}}})
    assert signal_of(Message(topic, 0, 0, 0, None, b"", headers), config) == signal


async def test_only_what_is_committed(bootstrap, make_topic):
    topic = make_topic()
    async with producing(bootstrap, transactional_id=topic) as producer:
        for commit in (True, False):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"yes" if commit else b"no")
            await (producer.commit_transaction() if commit else producer.abort_transaction())
    kafka = Kafka(brokers=(bootstrap,))
    seen = [m async for m in follow(kafka, topic, from_beginning=True, to_end=True)]
    assert [m.value for m in seen] == [b"yes"]


async def test_following_begins_with_the_next_message(bootstrap, make_topic):
    topic = make_topic()
    async with producing(bootstrap) as producer:
        await producer.send_and_wait(topic, b"before")
        messages = follow(Kafka(brokers=(bootstrap,)), topic)
        following = asyncio.ensure_future(anext(messages))
        async with asyncio.timeout(20):
            while not following.done():  # when it has begun to follow is nobody's to know
                await producer.send_and_wait(topic, b"after")
                await asyncio.wait({following}, timeout=0.1)
        assert following.result().value == b"after"
        await messages.aclose()


async def test_an_empty_topic_ends_at_once(bootstrap, topic):
    kafka = Kafka(brokers=(bootstrap,))
    assert [m async for m in follow(kafka, topic, from_beginning=True, to_end=True)] == []


async def test_what_is_not_there(bootstrap, topic):
    kafka = Kafka(brokers=(bootstrap,))
    with pytest.raises(ConfigurationError, match=f"did you mean {topic}"):
        await anext(follow(kafka, topic + "s"))
    with pytest.raises(ConfigurationError, match="not 7"):
        await anext(follow(kafka, topic, partitions=[7]))
