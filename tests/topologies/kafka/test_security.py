"""TLS and SASL settings against a broker that demands them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Kafka
from schemas.errors import BrokerUnavailable, ConfigurationError
from tests.certificates import Authority
from tests.conftest import MakeTopic
from tests.identity import CLIENT, SECRET, Provider
from topologies.kafka import (
    check_connection,
    create_consumer,
    create_producer,
    list_topics,
    start_client,
)

from .conftest import PASSWORD, USER, Secured

LOGIN = {"username": USER, "password": PASSWORD}


def settings(secured: Secured, protocol: str, **sections: Any) -> Kafka:
    return Kafka.model_validate({"brokers": (secured.broker.bootstrap_of(protocol),), **sections})


def trusting(secured: Secured, **more: Any) -> dict[str, Any]:
    return {"enabled": True, "ca_file": secured.authority.ca_file, **more}


def oauth(provider: Provider, secret: str = SECRET, **more: Any) -> dict[str, Any]:
    return {
        "mechanism": "OAUTHBEARER",
        "oauth": {
            "token_url": provider.url,
            "client_id": CLIENT,
            "client_secret": secret,
            **more,
        },
    }


async def round_trip(kafka: Kafka, topic: str) -> None:
    """Produce and consume as the stages do."""
    producer = create_producer(kafka)
    await start_client(producer, kafka)
    await producer.send_and_wait(topic, b"value", partition=0, headers=[("tenant", b"a")])
    await producer.stop()
    consumer = create_consumer(kafka, group_id=f"{topic}-group")
    consumer.subscribe([topic])
    await start_client(consumer, kafka)
    record = await consumer.getone()
    await consumer.commit()
    await consumer.stop()
    assert (record.value, record.headers) == (b"value", (("tenant", b"a"),))
    assert topic in await list_topics(kafka, [topic])


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
async def test_passwords(
    secured_kafka: Secured, make_topic: MakeTopic, protocol: str, mechanism: str
) -> None:
    tls = trusting(secured_kafka) if protocol == "SASL_SSL" else {}
    kafka = settings(secured_kafka, protocol, tls=tls, sasl={"mechanism": mechanism, **LOGIN})
    await round_trip(kafka, make_topic(1, on=secured_kafka.broker))


async def test_mutual_tls(secured_kafka: Secured, make_topic: MakeTopic) -> None:
    client = secured_kafka.authority.issue("client", password="open sesame")
    tls = trusting(
        secured_kafka,
        cert_file=client.cert_file,
        key_file=client.key_file,
        key_password="open sesame",
    )
    kafka = settings(secured_kafka, "SSL", tls=tls)
    await round_trip(kafka, make_topic(1, on=secured_kafka.broker))


async def test_oauthbearer(
    secured_kafka: Secured, make_topic: MakeTopic, provider: Provider
) -> None:
    sasl = oauth(provider, scope="telemetry.write telemetry.read")
    kafka = settings(secured_kafka, "SASL_SSL", tls=trusting(secured_kafka), sasl=sasl)
    await round_trip(kafka, make_topic(1, on=secured_kafka.broker))
    assert provider.requests[0] == {
        "grant_type": "client_credentials",
        "scope": "telemetry.write telemetry.read",
    }
    assert len(provider.issued) == 1  # for every client and connection of the process


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_told_without_it(
    secured_kafka: Secured, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = {"mechanism": mechanism, "username": USER, "password": "hunter2-hunter2"}
    kafka = settings(secured_kafka, "SASL_PLAINTEXT", sasl=wrong)
    with pytest.raises(ConfigurationError, match=r"kafka.sasl: Authentication failed") as caught:
        await start_client(create_producer(kafka), kafka)
    said = f"{caught.value!r} {caught.value} {kafka!r} {caplog.text}"
    assert "hunter2" not in said
    assert secured_kafka.broker.bootstrap_of("SASL_PLAINTEXT") in str(caught.value)


async def test_a_wrong_client_secret_is_told_without_it(
    secured_kafka: Secured, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sasl = oauth(provider, secret="hunter2-hunter2")
    kafka = settings(secured_kafka, "SASL_PLAINTEXT", sasl=sasl)
    with pytest.raises(
        ConfigurationError, match="refused client 'pipeline': invalid_client"
    ) as caught:
        await list_topics(kafka, [])
    assert "hunter2" not in f"{caught.value!r} {kafka!r} {caplog.text}"


async def test_a_refused_token(secured_kafka: Secured, provider: Provider) -> None:
    provider.body = {"access_token": "not.a.token", "token_type": "bearer", "expires_in": 60}
    kafka = settings(secured_kafka, "SASL_PLAINTEXT", sasl=oauth(provider))
    with pytest.raises(ConfigurationError, match=r"kafka.sasl: the token was refused") as caught:
        await list_topics(kafka, [])
    assert "not.a.token" not in str(caught.value)


async def test_an_authority_that_is_not_trusted(secured_kafka: Secured, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    tls = {"enabled": True, "ca_file": other.ca_file}
    sasl = {"mechanism": "PLAIN", **LOGIN}
    kafka = settings(secured_kafka, "SASL_SSL", tls=tls, sasl=sasl)
    with pytest.raises(ConfigurationError, match=r"kafka.tls: "):
        await check_connection(kafka)


async def test_a_missing_client_certificate(secured_kafka: Secured) -> None:
    kafka = settings(secured_kafka, "SSL", tls=trusting(secured_kafka))
    with pytest.raises(BrokerUnavailable, match="does it want a client certificate"):
        await check_connection(kafka)


async def test_plain_text_to_a_tls_port_is_given_a_hint(secured_kafka: Secured) -> None:
    kafka = settings(secured_kafka, "SSL")
    with pytest.raises(BrokerUnavailable, match=r"then set kafka.tls.enabled"):
        await check_connection(kafka)


async def test_tls_to_a_plain_text_port(secured_kafka: Secured) -> None:
    kafka = settings(secured_kafka, "PLAINTEXT", tls=trusting(secured_kafka))
    with pytest.raises(BrokerUnavailable, match="does the port speak TLS"):
        await check_connection(kafka)


async def test_one_good_broker_is_enough(secured_kafka: Secured) -> None:
    good = secured_kafka.broker.bootstrap
    await check_connection(Kafka(brokers=("127.0.0.1:1", good)))
    with pytest.raises(BrokerUnavailable, match=r"127.0.0.1:1: nobody listens"):
        await check_connection(Kafka(brokers=("127.0.0.1:1",)))
