"""Whether Kafka can be reached, and if not, why, in words that name the setting to look at.

aiokafka says only that it could not bootstrap. After such a failure the brokers are tried one
by one and the first cause that a person can act on becomes the error.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaError,
    MetadataEmptyBrokerList,
    PolicyViolationError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from schemas.errors import BrokerUnavailable, ConfigurationError, OtlpStreamsError

from .clients import client_options

if TYPE_CHECKING:
    from schemas.config import Kafka

__all__ = ["as_ours", "check_connection", "start_client"]

_CONNECT_TIMEOUT_S = 10.0
_REFUSED = (SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError)
_FORBIDDEN = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
_WRONG = (
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    PolicyViolationError,
)


class _Client(Protocol):
    async def start(self) -> None: ...


def as_ours(error: BaseException, doing: str = "Kafka") -> OtlpStreamsError:
    """The error of the project's tree for one that aiokafka or the network raised.

    Refused credentials, missing rights and settings that the broker does not allow are to be
    corrected; everything else may pass. ``doing`` begins the message.
    """
    if isinstance(error, OtlpStreamsError):
        return error
    if isinstance(error, _REFUSED):
        if isinstance(error.__cause__, OtlpStreamsError):  # no token: the cause knows why
            return error.__cause__
        return ConfigurationError(f"{doing}: kafka.sasl: {_text(error)}")
    if isinstance(error, _FORBIDDEN):
        return ConfigurationError(f"{doing}: the user may not do this: {_text(error)}")
    if isinstance(error, _WRONG):
        return ConfigurationError(f"{doing}: {_text(error)}")
    return BrokerUnavailable(f"{doing}: {_text(error)}")


async def start_client(client: _Client, kafka: Kafka) -> None:
    """``client.start()``, with the true reason when it fails. The client is left unstarted.

    Raises:
        ConfigurationError: credentials, rights or TLS are wrong.
        BrokerUnavailable: nobody answers.
    """
    try:
        if kafka.sasl is not None and kafka.sasl.mechanism == "OAUTHBEARER":
            await check_connection(kafka)
        await client.start()
    except (KafkaError, OSError, TimeoutError) as error:
        await _close(client)
        if not isinstance(error, (*_REFUSED, *_FORBIDDEN)):
            await check_connection(kafka)
        raise as_ours(error, f"Kafka at {', '.join(kafka.brokers)}") from error


async def check_connection(kafka: Kafka) -> None:
    """Connect, shake hands and authenticate with any one of the bootstrap brokers.

    Raises:
        ConfigurationError: credentials, mechanism or TLS are wrong.
        BrokerUnavailable: no broker answers.
    """
    options = client_options(kafka)
    options.pop("bootstrap_servers")
    found: list[OtlpStreamsError] = []
    for broker in kafka.brokers:
        try:
            await _connect(broker, options)
        except (KafkaError, OSError, TimeoutError, EOFError) as error:
            found.append(_explain(error, broker, kafka))
        else:
            return
    raise next((each for each in found if isinstance(each, ConfigurationError)), found[0])


async def _connect(broker: str, options: dict[str, Any]) -> None:
    host, _, port = broker.rpartition(":")
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        options |= {"request_timeout_ms": round(_CONNECT_TIMEOUT_S * 1000)}
        connection = await create_conn(host.strip("[]"), int(port), **options)
        try:
            metadata = await connection.send(MetadataRequest([]))
        finally:
            connection.close()
    if not metadata.brokers:
        # How a broker answers whom it does not know; aiokafka takes a refused OAUTHBEARER token
        # for an accepted one (the refusal is a challenge, RFC 7628 section 3.2.2).
        if options.get("sasl_mechanism") == "OAUTHBEARER":
            raise SaslAuthenticationFailed("the token was refused")
        raise MetadataEmptyBrokerList("no broker is ready")


def _explain(error: BaseException, broker: str, kafka: Kafka) -> OtlpStreamsError:
    where = f"Kafka at {broker}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(f"{where}: kafka.tls: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return ConfigurationError(f"{where}: kafka.tls: no TLS with this port: {_text(error)}")
    if isinstance(error, ConnectionRefusedError):
        return BrokerUnavailable(f"{where}: nobody listens there (kafka.brokers)")
    if isinstance(error, TimeoutError):
        return BrokerUnavailable(f"{where}: no answer within {_CONNECT_TIMEOUT_S:g} s")
    if isinstance(error, _REFUSED):
        return as_ours(error, where)
    # Whoever speaks the wrong way with a port, TLS or not, is cut off without a word.
    hint = "; does the port speak TLS? then set kafka.tls.enabled"
    if kafka.tls.enabled:
        hint = "; does the port speak TLS, and does it want a client certificate (kafka.tls)?"
    return BrokerUnavailable(f"{where}: {_text(error)}{hint}")


async def _close(client: Any) -> None:
    with contextlib.suppress(Exception):
        await (client.stop() if hasattr(client, "stop") else client.close())


def _text(error: BaseException) -> str:
    """What the error says, without the class names that aiokafka puts before it."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason
    if isinstance(error, KafkaError):
        return ", ".join(str(each) for each in error.args if each) or type(error).__name__
    return str(error) or type(error).__name__
