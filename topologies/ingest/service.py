"""The ports of ingest: receivers in front of the publisher."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.signals import Signal
from streams import wire
from streams.edges.receivers import Admission, GrpcServer, HttpServer, ReceiverMetrics

from .link import Link
from .publisher import Publisher

__all__ = ["IngestService"]


class IngestService:
    """OTLP/gRPC and OTLP/HTTP servers whose requests the publisher accepts."""

    def __init__(
        self,
        config: Config,
        link: Link,
        publisher: Publisher,
        registry: CollectorRegistry,
        *,
        shared_ports: bool = False,
    ) -> None:
        self._config = config
        self._link = link
        self._publisher = publisher
        settings = config.ingest
        self._admission = Admission(settings.inflight_max, settings.retry_after)
        metrics = ReceiverMetrics(registry)
        self._servers: list[GrpcServer | HttpServer] = []
        if settings.grpc.enabled:
            self._servers.append(
                GrpcServer(
                    settings.grpc,
                    publisher.accept,
                    max_request_bytes=settings.max_request,
                    admission=self._admission,
                    metrics=metrics,
                    reuse_port=shared_ports,
                    ready=lambda: not self.unready,
                )
            )
        if settings.http.enabled:
            self._servers.append(
                HttpServer(
                    settings.http,
                    publisher.accept,
                    max_request_bytes=settings.max_request,
                    admission=self._admission,
                    metrics=metrics,
                    reuse_port=shared_ports,
                )
            )

    @property
    def topics(self) -> Sequence[str]:
        """The topics of the three signals."""
        return tuple(self._config.topics.names.of(signal) for signal in Signal)

    @property
    def unready(self) -> Mapping[str, str]:
        """Why clients are turned away just now."""
        problem = self._publisher.problem
        if problem is None and not self._admission.healthy:
            problem = "ingest.inflight_max is reached"
        return {} if problem is None else {"ingest": problem}

    async def start(self) -> None:
        """Compile or load the kernels, then listen."""
        await asyncio.to_thread(wire.warm_up)
        self._link.start()
        try:
            for server in self._servers:
                await server.start()
        except BaseException:
            await self.stop()  # the ports that could be had
            raise

    async def stop(self) -> None:
        """Take no more; answer what is under way; close."""
        grace_s = self._config.runtime.drain_timeout
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))
        await self._publisher.drain(grace_s)
        await self._link.stop()
