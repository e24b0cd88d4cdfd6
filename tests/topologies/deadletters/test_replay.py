"""Dead letters on a real Kafka: looked at, sent back, each once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.batches import Batch, Record
from schemas.config import Config
from schemas.errors import (
    BackendRefused,
    ConfigurationError,
    MalformedMessage,
    MessageTooLarge,
    PermanentError,
)
from schemas.records import DeadLetter
from schemas.topics import topic_specs
from tests.topologies.tap.test_tap import logs
from topologies.deadletters import Filters, Letter, Outcome, parse_place, replay, replays
from topologies.kafka import AdminClient, create_topics
from topologies.runtime.deadletter import dead_letter, without_value
from topologies.tap import Message, follow

REFUSED, MALFORMED = BackendRefused("no such tenant", "400"), MalformedMessage("bad wire type", 7)


@pytest.fixture
async def topics(config: Config) -> None:
    await create_topics(config.kafka, topic_specs(config))


@contextlib.asynccontextmanager
async def producing(config: Config) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=list(config.kafka.brokers))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def given_up(config: Config, number: int, error: PermanentError, topic: str = "") -> Record:
    names = config.topics.names
    batch = Batch(
        topic or names.logs, number % 2, number, 0, b"k%d" % number, b"value %d" % number,
        (("tenant", b"acme"),),
    )  # fmt: skip
    return dead_letter(names.deadletter, "shape", batch, error, 1_700_000_000_000_000_000)


async def put(config: Config, *records: Record) -> None:
    async with producing(config) as producer:
        sent = []
        for index, record in enumerate(records):
            sent.append(
                await producer.send(
                    record.topic, record.value, key=record.key, partition=index % 2,
                    headers=list(record.headers),
                )
            )  # fmt: skip
        await asyncio.gather(*sent)


async def messages(config: Config, topic: str) -> list[Message]:
    return [m async for m in follow(config.kafka, topic, from_beginning=True, to_end=True)]


async def command(*arguments: str, code: int = 0) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "topologies.cli.main", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "240"},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, err.decode()
    assert "Traceback" not in err.decode()
    return out.decode(), err.decode()


@pytest.mark.usefixtures("topics")
async def test_bytes_headers_key_and_partition_come_back(config: Config) -> None:
    names = config.topics.names
    await put(config, given_up(config, 0, REFUSED), given_up(config, 1, MALFORMED))
    dry = await replay(config, dry_run=True)
    assert (dry.sent, await messages(config, names.logs)) == (2, [])
    outcome = await replay(config)
    assert outcome == Outcome(sent=2, sent_bytes=14)
    found = await messages(config, names.logs)
    for message in found:
        number = message.partition
        assert message.value == b"value %d" % number
        assert message.key == b"k%d" % number
        assert message.headers == (("tenant", b"acme"), ("deadletter.replayed", b"1"))
    assert {message.partition for message in found} == {0, 1}


@pytest.mark.usefixtures("topics")
async def test_what_was_too_large_says_so_for_its_items_were_counted(config: Config) -> None:
    await put(config, given_up(config, 0, MessageTooLarge("a span", 9, "max_message", 8)))
    assert (await replay(config)).sent == 1
    (message,) = await messages(config, config.topics.names.logs)
    assert message.headers[-1] == ("deadletter.was", b"too_large")


@pytest.mark.usefixtures("topics")
async def test_each_once_unless_again_whatever_the_filters(config: Config) -> None:
    names = config.topics.names
    errors: list[PermanentError] = [REFUSED, REFUSED, MALFORMED, REFUSED, MALFORMED, MALFORMED]
    await put(config, *(given_up(config, n, error) for n, error in enumerate(errors)))
    refused, malformed = Filters(reason="refused"), Filters(reason="malformed")
    assert (await replay(config, malformed)).sent == 3
    assert (await replay(config, malformed)) == Outcome(already=3)
    assert (await replay(config, refused, limit=2)).sent == 2
    rest = await replay(config)
    assert (rest.sent, rest.sent_bytes) == (1, 7)
    # Everything has been sent back, so the next run does not even read it.
    async with AdminClient(config.kafka) as admin:
        left = await admin.committed(f"{config.kafka.group_prefix}.deadletter-replay")
    assert {tp[0] for tp in left} == {names.deadletter}
    assert (await replay(config)).sent == 0
    counts = Counter(message.value for message in await messages(config, names.logs))
    assert counts == {b"value %d" % n: 1 for n in range(6)}
    assert (await replay(config, malformed, again=True)).sent == 3
    counts = Counter(message.value for message in await messages(config, names.logs))
    assert sorted(counts.values()) == [1, 1, 1, 2, 2, 2]
    done = await replays(config)
    assert (0, 0) in done
    # A letter that comes later is seen.
    await put(config, given_up(config, 6, REFUSED))
    assert (await replay(config)).sent == 1


@pytest.mark.usefixtures("topics")
async def test_what_cannot_be_sent_back_says_why_and_holds_up_nothing(config: Config) -> None:
    names = config.topics.names
    async with producing(config) as producer:
        original = await producer.send_and_wait(names.logs, b"large value", partition=1)
    batch = Batch(names.logs, 1, original.offset, 0, None, b"large value", ())
    large = without_value(dead_letter(names.deadletter, "shape", batch, REFUSED, 0))
    gone = without_value(
        dead_letter(names.deadletter, "shape", batch._replace(offset=77), REFUSED, 0)
    )
    no_letter = Record(names.deadletter, b"?", None, None, (("deadletter.reason", b"x"),))
    elsewhere = Batch(names.logs, 9, 5, 0, None, b"v", ())
    await put(
        config,
        given_up(config, 0, REFUSED, topic="somebody.elses"),
        given_up(config, 0, REFUSED, topic=names.audit),
        no_letter,
        gone,
        dead_letter(names.deadletter, "shape", elsewhere, REFUSED, 0),
        large,
        given_up(config, 1, REFUSED),
    )
    outcome = await replay(config)
    assert outcome.sent == 2
    why = {text for _, _, text in outcome.refused}
    assert len(outcome.refused) == 5
    for word in ("somebody.elses is not", f"{names.audit} is not", "no dead letter",
                 "no partition 9", "left out"):  # fmt: skip
        assert any(word in text for text in why), word
    values = Counter(message.value for message in await messages(config, names.logs))
    assert values == {b"large value": 2, b"value 1": 1}
    again = await replay(config)
    assert (again.sent, len(again.refused)) == (0, 5), "they stay, and are named again"


@pytest.mark.usefixtures("topics")
async def test_killed_and_run_again_until_it_is_through(config: Config, config_file: Path) -> None:
    names, rng, total = config.topics.names, random.Random(1), 6000
    await put(config, *(given_up(config, n, REFUSED) for n in range(total)))
    arguments = ("deadletter", "replay", "--config", str(config_file))
    kills = 0
    for _ in range(40):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "topologies.cli.main", *arguments,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        for _ in range(rng.randint(1, 3)):  # so many transactions, and a part of the next
            await asyncio.wait_for(process.stderr.readline(), 60)
        if kills < 4 and process.returncode is None:
            await asyncio.sleep(rng.uniform(0, 0.05))
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
                kills += 1
            await process.communicate()
            continue
        await process.communicate()
        if process.returncode == 0:
            break
    assert kills >= 2
    assert (await replay(config)).sent == 0
    counts = Counter(message.value for message in await messages(config, names.logs))
    assert len(counts) == total, "some were lost"
    assert set(counts.values()) == {1}, "some came twice"


@pytest.mark.usefixtures("topics")
async def test_commands(config: Config, config_file: Path, tmp_path: Path) -> None:
    names, file = config.topics.names, ("--config", str(config_file))
    poison = Batch(names.logs, 1, 41, 0, None, logs(), (("tenant", b"acme"),))
    letter = dead_letter(names.deadletter, "export.a", poison, REFUSED, 10**18)
    await put(config, letter, given_up(config, 3, MALFORMED, topic=names.spans))

    out, _ = await command("deadletter", "list", *file)
    assert "2 dead letters" in out
    assert f"{names.logs}/1:41" in out
    assert "no such tenant" in out
    listed = json.loads((await command("deadletter", "list", "--json", *file))[0])
    assert [each["letter"]["reason"] for each in listed] == ["refused", "malformed"]
    assert listed[0]["bytes"] == len(logs())

    some = ("--stage", "export.a", "--topic", names.logs, "--since", "10m", "--max", "5")
    [one] = json.loads((await command("deadletter", "list", "--json", *some, *file))[0])
    assert one == listed[0]

    place = f"{listed[0]['partition']}:{listed[0]['offset']}"
    raw = tmp_path / "raw"
    out, _ = await command("deadletter", "show", place, "--raw", str(raw), *file)
    assert "{a: [1]}" in out
    assert "deadletter.reason: refused" in out
    assert "tenant: acme" in out
    assert raw.read_bytes() == logs()
    shown: Any = json.loads((await command("deadletter", "show", place, "--json", *file))[0])
    assert shown["value"]["resourceLogs"]
    _, err = await command("deadletter", "show", "1:999", *file, code=78)
    assert "no dead letter at 1:999" in err
    _, err = await command("deadletter", "replay", "--topic", names.logs + "s", *file, code=78)
    assert f"did you mean {names.logs}" in err

    out, err = await command("deadletter", "replay", "--dry-run", *file)
    assert "2 would be sent back" in out
    out, err = await command("deadletter", "replay", place, *file)
    assert "1 sent back" in out
    assert err == "1 sent\n"
    out, _ = await command("deadletter", "replay", *file, "--json")
    assert json.loads(out)["sent"] == 1
    listed = json.loads((await command("deadletter", "list", "--json", *file))[0])
    assert [each["replayed"] for each in listed] == [True, True]
    assert len(await messages(config, names.logs)) == 1


def test_filters_and_places() -> None:
    batch = Batch("otlp_logs", 1, 41, 0, None, b"", ())
    record = dead_letter("deadletter", "shape", batch, REFUSED, 0)
    message = Message("deadletter", 3, 7, 5000, None, b"", record.headers)
    letter = Letter(message, DeadLetter.of(record.headers))
    for yes in (
        Filters(), Filters(reason="refused", stage="shape", topic="otlp_logs"),
        Filters(since_ms=5000), Filters(places=frozenset({(3, 7), (0, 0)})),
    ):  # fmt: skip
        assert yes.accept(letter), yes
    for no in (
        Filters(reason="malformed"), Filters(stage="sha"), Filters(topic="otlp_spans"),
        Filters(since_ms=5001), Filters(places=frozenset({(7, 3)})),
    ):  # fmt: skip
        assert not no.accept(letter), no
    assert not Filters(reason="refused").accept(letter._replace(letter=None))
    assert str(Filters(reason="refused", topic="x")) == "reason refused, topic x"
    assert parse_place("3:1207") == (3, 1207)
    for bad in ("abc", "3", "3:", "-1:2", "1:2:3"):
        with pytest.raises(ConfigurationError, match="PARTITION:OFFSET"):
            parse_place(bad)


def test_since_is_an_age_or_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from topologies.cli.options import since_ms

    monkeypatch.setattr("time.time", lambda: 10_000.0)
    assert since_ms("1h") == 6_400_000
    assert since_ms("1970-01-01T00:00:01+00:00") == 1000
    with pytest.raises(ConfigurationError, match="--since: 'yesterday'"):
        since_ms("yesterday")


async def test_without_a_dead_letter_topic(config: Config, config_file: Path) -> None:
    _, err = await command("deadletter", "list", "--config", str(config_file), code=78)
    assert f"there is no topic '{config.topics.names.deadletter}'" in err
