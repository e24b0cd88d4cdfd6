"""The ingest stage: OTLP over gRPC and HTTP, and foreign topics, onto our topics.

clients, foreign topics  ->  otlp_spans | otlp_metrics | otlp_logs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.config import Config

__all__ = ["run"]


async def run(config: Config, *, shared_ports: bool = False) -> None:
    """Receive until SIGTERM. ``shared_ports``: other processes listen on the same ports."""
    from streams.edges.platform import create_registry  # noqa: PLC0415 - heavy, and not for --help
    from topologies.kafka import create_producer  # noqa: PLC0415
    from topologies.runtime import serve  # noqa: PLC0415

    from .link import Link  # noqa: PLC0415
    from .metrics import IngestMetrics  # noqa: PLC0415
    from .publisher import Publisher  # noqa: PLC0415
    from .service import IngestService  # noqa: PLC0415
    from .source import source_stages  # noqa: PLC0415

    registry = create_registry()
    link = Link(lambda: create_producer(config.kafka))
    metrics = IngestMetrics(registry)
    publisher = Publisher(config, link, metrics)
    service = IngestService(config, link, publisher, registry, shared_ports=shared_ports)
    await serve(
        source_stages(config, publisher, metrics), config, registry=registry, service=service
    )
