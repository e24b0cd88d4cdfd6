"""A real OTLP server of each transport, on free ports."""

from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from schemas.config import GrpcReceiver, HttpReceiver
from streams import wire
from streams.edges.receivers import (
    Admission,
    CollectingAcceptor,
    Faults,
    FaultSettings,
    GrpcServer,
    HttpServer,
    ReceiverMetrics,
)


@pytest.fixture(scope="session", autouse=True)
def _compiled():
    """The servers look at what they get; compiling that would make them late once."""
    wire.warm_up()


class Server(NamedTuple):
    """What a replay sends to."""

    endpoint: str
    protocol: str
    got: CollectingAcceptor


@pytest.fixture
def serve():
    """``async with serve(protocol, **faults) as server``."""

    @asynccontextmanager
    async def run(protocol: str = "grpc", **faults):
        got = CollectingAcceptor()
        acceptor = Faults(got, FaultSettings(**faults)) if faults else got
        kind, settings = {
            "grpc": (GrpcServer, GrpcReceiver(endpoint="127.0.0.1:0")),
            "http": (HttpServer, HttpReceiver(endpoint="127.0.0.1:0")),
        }[protocol]
        server = kind(
            settings,
            acceptor,
            max_request_bytes=64 << 20,
            admission=Admission(256 << 20, 0.1),
            metrics=ReceiverMetrics(CollectorRegistry()),
        )
        await server.start()
        try:
            yield Server(f"127.0.0.1:{server.port}", protocol, got)
        finally:
            await server.stop(0.0)

    return run
