"""The administrative client, and the two questions that are asked of it most."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from schemas.errors import BrokerUnavailable

from .clients import client_options
from .connection import as_ours, start_client

if TYPE_CHECKING:
    from schemas.config import Kafka

__all__ = ["AdminClient", "create_missing", "open_admin"]

_SETTLE_TIMEOUT_S = 30.0
_COORDINATOR_TIMEOUT_S = 15.0
_PAUSE_S = 0.05
_MOVING = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)


@contextlib.asynccontextmanager
async def open_admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client, closed at the end; what fails inside becomes an error of ours.

    Raises:
        ConfigurationError: credentials, rights or TLS are wrong.
        BrokerUnavailable: Kafka does not answer.
    """
    admin = AIOKafkaAdminClient(
        **client_options(kafka), request_timeout_ms=round(kafka.producer.request_timeout * 1000)
    )
    await start_client(admin, kafka)
    try:
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise as_ours(error, f"Kafka at {', '.join(kafka.brokers)}") from error
    finally:
        await admin.close()


class AdminClient:
    """``async with AdminClient(kafka) as admin``: topics to make, offsets to look at.

    Every method raises as :func:`open_admin` does.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._open = contextlib.AsyncExitStack()
        self._admin: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Self:
        self._admin = await self._open.enter_async_context(open_admin(self._kafka))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def create(
        self,
        topic: str,
        partitions: int,
        *,
        replication_factor: int = 1,
        settings: dict[str, str] | None = None,
    ) -> bool:
        """Make a topic and wait for its leaders; False, and no change, if it is there already."""
        new = NewTopic(topic, partitions, replication_factor, topic_configs=settings or {})
        try:
            return bool(await create_missing(self._require(), [new]))
        except (KafkaError, OSError, TimeoutError) as error:
            raise as_ours(error, f"topic {topic} cannot be created") from error

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Committed offsets of a group by topic and partition; none if it has committed none.

        Waits while the group's coordinator moves, or is chosen for the first time.
        """
        admin = self._require()
        try:
            async with asyncio.timeout(_COORDINATOR_TIMEOUT_S):
                while True:
                    try:
                        found = await admin.list_consumer_group_offsets(group)
                    except _MOVING:
                        await asyncio.sleep(_PAUSE_S)
                        continue
                    return {(tp.topic, tp.partition): at.offset for tp, at in found.items()}
        except (KafkaError, OSError, TimeoutError) as error:
            raise as_ours(error, f"offsets of group {group}") from error

    async def partitions(self, topic: str) -> int:
        """How many a topic has at this moment; 0 if there is no such topic."""
        admin = self._require()
        try:
            (found,) = await admin.describe_topics([topic])
            error = for_code(found["error_code"])
            if error is UnknownTopicOrPartitionError:
                return 0
            if error is not NoError:
                raise error(topic)
            return len(found["partitions"])
        except (KafkaError, OSError, TimeoutError) as error:
            raise as_ours(error, f"partitions of topic {topic}") from error

    def _require(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            raise RuntimeError("the admin client is not open: async with AdminClient(...)")
        return self._admin


async def create_missing(
    admin: AIOKafkaAdminClient, topics: Collection[NewTopic]
) -> tuple[str, ...]:
    """Create topics, wait until every partition has a leader, name those that are new."""
    created: list[str] = []
    for name, code, *message in (await admin.create_topics(list(topics))).topic_errors:
        error = for_code(code)
        if not code:
            created.append(name)
        elif error is not TopicAlreadyExistsError:  # another process was quicker: just as well
            raise as_ours(error(*message), f"topic {name} cannot be created")
    await _settle(admin, {topic.name for topic in topics})
    return tuple(created)


async def _settle(admin: AIOKafkaAdminClient, waiting: set[str]) -> None:
    """Wait for leaders: the controller answers before the brokers know."""
    try:
        async with asyncio.timeout(_SETTLE_TIMEOUT_S):
            while True:
                for topic in await admin.describe_topics():
                    partitions = topic["partitions"]
                    if partitions and all(each["leader"] >= 0 for each in partitions):
                        waiting.discard(topic["topic"])
                if not waiting:
                    return
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        raise BrokerUnavailable(
            f"new topics without a leader after {_SETTLE_TIMEOUT_S:g} s: {', '.join(waiting)}"
        ) from None
