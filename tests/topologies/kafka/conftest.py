"""A broker that wants to know who is there: TLS, SASL, and an identity provider beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.certificates import Authority
from tests.identity import Provider, serve
from topologies.localkafka import BrokerTls, LocalKafka

USER, PASSWORD = "alice", "correct horse-battery=staple"


@dataclass
class Secured:
    """The broker and the authority that signed its certificate."""

    broker: LocalKafka
    authority: Authority


@pytest.fixture(scope="module")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("secured")
    authority = Authority(directory)
    server = authority.issue("broker")
    keystore = directory / "keystore.pem"
    keystore.write_bytes(server.key_file.read_bytes() + server.cert_file.read_bytes())
    tls = BrokerTls(keystore, authority.ca_file)
    with LocalKafka(directory / "kafka", keep=False, users={USER: PASSWORD}, tls=tls) as broker:
        yield Secured(broker, authority)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serve() as provider:
        yield provider
