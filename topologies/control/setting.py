"""Values as a person sets them and looks at them."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from schemas.config import Config
from schemas.control import control_settings, find_setting
from schemas.errors import BrokerUnavailable
from schemas.records import Audit, Control, MalformedRecord, Value
from schemas.topics import topic_specs
from topologies.kafka import as_ours, create_producer, ensure_topics, start_client
from topologies.tap import follow

from .follower import Wanted, read_control

__all__ = [
    "Done",
    "Shown",
    "change_value",
    "current",
    "history",
    "person",
    "set_value",
    "transaction",
]

TRANSACTION_TIMEOUT_MS = 15_000
CLOSE_TIMEOUT_S = 5.0


class Done(NamedTuple):
    """What ``set`` has done. ``before`` and ``after`` None: as the configuration says."""

    name: str
    before: Value
    after: Value
    offset: int


class Shown(NamedTuple):
    """One name and its value in force."""

    name: str
    value: Value
    default: Value
    description: str
    control: Control | None
    """Who set it; None if nobody did."""


def person() -> str:
    """Who sits here: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


async def set_value(config: Config, name: str, value: Value, reason: str = "") -> Done:
    """Set a value, and say so in ``audit``, both or neither.

    Args:
        config: the whole configuration.
        name: of the setting.
        value: what :meth:`ControlSetting.parse` gave; None takes back what was set.
        reason: why.

    Raises:
        ConfigurationError: there is no such name, or Kafka refuses us.
        BrokerUnavailable: Kafka is away, or somebody else was setting at the same moment.
    """
    return await change_value(config, name, lambda _before: value, reason)


async def change_value(
    config: Config, name: str, change: Callable[[Value], Value], reason: str = ""
) -> Done:
    """Set a value that follows from the one before; nobody else changes it in between.

    Args:
        config: the whole configuration.
        name: of the setting.
        change: from what is set, None if nothing is, to a valid value; may raise.
        reason: why.

    Raises as :func:`set_value`.
    """
    find_setting(name, control_settings(config))
    names = config.topics.names
    await _ensure(config, (names.control, names.audit))
    who, at = person(), datetime.now(UTC)
    key = name.encode()
    # Starting fences whoever is at it, so what is read now is what this change follows upon.
    async with transaction(config, f"{config.kafka.group_prefix}.control") as producer:
        wanted = (await _wanted(config))[0].get(name)
        before = None if wanted is None else wanted.value
        value = change(before)
        control = Control(name=name, value=value, who=who, at=at, reason=reason)
        await producer.begin_transaction()
        sent = await producer.send_and_wait(names.control, control.encode(), key=key)
        audit = Audit(
            id=str(uuid.uuid4()), action="set", name=name, before=before, after=value, who=who,
            at=at, reason=reason, control_offset=sent.offset,
        )  # fmt: skip
        await producer.send_and_wait(names.audit, audit.encode(), key=key)
        await producer.commit_transaction()
    return Done(name, before, value, sent.offset)


async def current(config: Config) -> tuple[list[Shown], list[str]]:
    """Every name with its value, and what on the topic had to be ignored, in words."""
    await _ensure(config, (config.topics.names.control,))
    newest, ignored = await _wanted(config)
    shown = []
    for name, setting in control_settings(config).items():
        wanted = newest.get(name)
        value = None if wanted is None else wanted.value
        shown.append(
            Shown(
                name,
                setting.default if value is None else value,
                setting.default,
                setting.description,
                None if wanted is None else wanted.control,
            )
        )
    return shown, ignored


async def history(config: Config, name: str | None = None) -> tuple[list[Audit], list[str]]:
    """What ``audit`` says of values, oldest first, and what of it could not be read."""
    await _ensure(config, (config.topics.names.audit,))
    found: dict[str, Audit] = {}
    ignored = []
    messages = follow(config.kafka, config.topics.names.audit, from_beginning=True, to_end=True)
    async with contextlib.aclosing(messages):
        async for message in messages:
            try:
                audit = Audit.decode(message.value)
            except MalformedRecord as error:
                ignored.append(f"audit record {message.offset}: {error}")
                continue
            if audit.action != "replayed" and name in (None, audit.name):
                found[audit.id] = audit
    return list(found.values()), ignored


async def _wanted(config: Config) -> tuple[dict[str, Wanted], list[str]]:
    settings = control_settings(config)
    newest: dict[str, Wanted] = {}
    ignored = []
    messages = follow(config.kafka, config.topics.names.control, from_beginning=True, to_end=True)
    async with contextlib.aclosing(messages):
        async for message in messages:
            try:
                read = read_control(message.key, message.value, message.offset, settings)
            except MalformedRecord as error:
                ignored.append(f"control record {message.offset}: {error}")
                continue
            if isinstance(read, Wanted):
                newest[read.name] = read
            else:
                ignored.append(f"control record {message.offset}: {read} name or value")
    return newest, ignored


async def _ensure(config: Config, names: Collection[str]) -> None:
    specs = [spec for spec in topic_specs(config) if spec.name in names]
    await ensure_topics(config.kafka, specs, create=config.topics.create)


@contextlib.asynccontextmanager
async def transaction(config: Config, transactional_id: str) -> AsyncIterator[AIOKafkaProducer]:
    """A started transactional producer; what fails inside becomes an error of ours.

    Whoever had the id before is fenced. What was not committed at the end is aborted; what was,
    can be read by everybody.

    Raises:
        ConfigurationError: Kafka refuses us.
        BrokerUnavailable: Kafka is away, or somebody else took the id.
    """
    producer = await _start(config, transactional_id)
    try:
        yield producer
    except (ProducerFenced, AssertionError):  # aiokafka asserts what a fenced one may not do
        raise BrokerUnavailable(
            f"somebody else did the same at the same moment ({transactional_id}); try again"
        ) from None
    except (KafkaError, OSError, TimeoutError) as error:
        raise as_ours(error, f"transaction {transactional_id}") from error
    else:
        # A commit returns before it can be read on every partition; a start of the id waits.
        await _close(await _start(config, transactional_id))
    finally:
        await _close(producer)


async def _start(config: Config, transactional_id: str) -> AIOKafkaProducer:
    producer = create_producer(
        config.kafka,
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        retry_backoff_ms=20,
    )
    await start_client(producer, config.kafka)
    return producer


async def _close(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            # Of what failed; readers would wait for it until the broker's timeout.
            with contextlib.suppress(KafkaError, AssertionError):
                await producer.abort_transaction()
            await producer.stop()
