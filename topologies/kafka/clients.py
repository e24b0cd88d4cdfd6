"""From settings to aiokafka clients. Nothing here connects."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import SaslAuthenticationFailed

from schemas.errors import OtlpStreamsError
from streams.edges.security import client_context
from streams.edges.security.oauth import ClientCredentials

if TYPE_CHECKING:
    from schemas.config import Kafka, OAuth, Sasl

__all__ = ["MESSAGE_OVERHEAD_BYTES", "client_options", "create_consumer", "create_producer"]

MESSAGE_OVERHEAD_BYTES = 32 << 10
"""Room for key, headers and framing beside a message's value of ``producer.max_message``."""


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """OAUTHBEARER tokens; failures become errors that aiokafka retries instead of dying of."""

    def __init__(self, oauth: OAuth) -> None:
        self._credentials = ClientCredentials(oauth)

    async def token(self) -> str:
        try:
            return await self._credentials.token()
        except OtlpStreamsError as error:
            raise SaslAuthenticationFailed(str(error)) from error


@lru_cache(maxsize=16)
def _tokens(oauth: OAuth) -> _Tokens:
    """One token serves all clients of this process."""
    return _Tokens(oauth)


class _WithoutSasl(logging.Filter):
    """At level debug aiokafka logs every request, the ones that carry a password too."""

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(type(each).__name__.startswith("SaslAuthenticate") for each in arguments)


_WITHOUT_SASL = _WithoutSasl()


def client_options(kafka: Kafka) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes: brokers, TLS, SASL.

    Raises ConfigurationError for TLS files that cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(kafka.brokers),
        "client_id": kafka.client_id,
        "security_protocol": _security_protocol(kafka),
    }
    if kafka.tls.enabled:
        options["ssl_context"] = client_context(kafka.tls)
    if kafka.sasl is not None:
        options |= _sasl(kafka.sasl)
    return options


def _security_protocol(kafka: Kafka) -> str:
    if kafka.sasl is None:
        return "SSL" if kafka.tls.enabled else "PLAINTEXT"
    return "SASL_SSL" if kafka.tls.enabled else "SASL_PLAINTEXT"


def _sasl(sasl: Sasl) -> dict[str, Any]:
    logging.getLogger("aiokafka.conn").addFilter(_WITHOUT_SASL)  # once, however often
    options: dict[str, Any] = {"sasl_mechanism": sasl.mechanism}
    if sasl.oauth is not None and sasl.mechanism == "OAUTHBEARER":
        options["sasl_oauth_token_provider"] = _tokens(sasl.oauth)
    if sasl.username is not None and sasl.password is not None:
        options["sasl_plain_username"] = sasl.username
        options["sasl_plain_password"] = sasl.password.get_secret_value()
    return options


def create_producer(kafka: Kafka, **overrides: Any) -> AIOKafkaProducer:
    """A producer that is not started: acks=all, idempotent, one message a batch at most full.

    ``overrides`` are aiokafka's own keyword arguments, such as ``transactional_id``.
    """
    producer = kafka.producer
    size_max_bytes = producer.max_message + MESSAGE_OVERHEAD_BYTES
    options = client_options(kafka) | {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": None if producer.compression == "none" else producer.compression,
        "linger_ms": 0,  # what should wait for company has waited before
        # Above this the client refuses in time. Refused by the broker, an idempotent producer
        # could send nothing more to that partition.
        "max_request_size": size_max_bytes,
        "max_batch_size": size_max_bytes,
        "request_timeout_ms": _ms(producer.request_timeout),
        "retry_backoff_ms": _ms(producer.retry_backoff),
    }
    return AIOKafkaProducer(**(options | overrides))


def create_consumer(
    kafka: Kafka, *, group_id: str | None = None, **overrides: Any
) -> AIOKafkaConsumer:
    """A consumer that is not started: read_committed, no commits of its own.

    ``overrides`` are aiokafka's own keyword arguments.
    """
    consumer = kafka.consumer
    options = client_options(kafka) | {
        "group_id": group_id,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": consumer.auto_offset_reset,
        "session_timeout_ms": _ms(consumer.session_timeout),
        "heartbeat_interval_ms": _ms(consumer.heartbeat_interval),
        "max_partition_fetch_bytes": consumer.fetch_max,
        "fetch_max_wait_ms": _ms(consumer.fetch_wait),
        "max_poll_records": consumer.max_poll_records,
    }
    if group_id is not None:
        options["group_instance_id"] = consumer.instance_id
    return AIOKafkaConsumer(**(options | overrides))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
