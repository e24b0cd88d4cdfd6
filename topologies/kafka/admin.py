"""The administrative client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from .clients import client_options
from .connection import as_ours, start_client

if TYPE_CHECKING:
    from schemas.config import Kafka

__all__ = ["open_admin"]


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
