"""Topics that others write: consumed, re-keyed and merged like requests.

A Collector's kafka exporter writes any key, one trace a message or many. Messages that lie next
to each other on a partition are one request here, so that small ones cost little. Each is checked
before it is joined (``wire.count``): one that is cut off would take its neighbours with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.batches import Batch, Headers
from schemas.config import Config, KafkaSource
from schemas.errors import ItemsRejected
from streams import wire
from streams.wire import json
from topologies.runtime import Stage

from .metrics import IngestMetrics
from .publisher import TENANT_HEADER, Publisher

__all__ = ["SourceSink", "source_stages"]


class SourceSink:
    """Publishes what lies on one partition of a foreign topic."""

    def __init__(self, source: KafkaSource, publisher: Publisher, metrics: IngestMetrics) -> None:
        self._source = source
        self._publisher = publisher
        self._items = metrics.source_items.labels(source.topic)

    async def deliver(self, batches: Sequence[Batch]) -> None:
        """Return when Kafka has acknowledged all of it.

        Raises:
            MalformedMessage: not such a request.
            ItemsRejected: single items could not be taken; all others were published.
        """
        signal = self._source.signal
        values = [batch.value for batch in batches]
        if self._source.encoding == "otlp_json":
            values = [json.decode(signal, value) for value in values]
        if len(values) > 1:  # one alone is scanned as a whole
            for value in values:
                wire.count(signal, value)
        division = await self._publisher.divide(signal, wire.merge(values), keep_rejected=True)
        if division.rejected and len(batches) > 1:
            # Nothing is published yet: the messages come again in halves, to name the culprit.
            raise ItemsRejected(division.explain(), division.remainder)
        await self._publisher.send(division, _header_set(batches[0].headers))
        self._items.inc(division.items)
        if division.rejected:
            raise ItemsRejected(division.explain(), division.remainder)


def _header_set(headers: Headers) -> Headers:
    """Only what must not be mixed travels on; whatever else a foreign writer set does not."""
    return tuple(header for header in headers if header[0] == TENANT_HEADER)


def source_stages(config: Config, publisher: Publisher, metrics: IngestMetrics) -> list[Stage]:
    """A stage per configured source, each a consumer group of its own."""
    return [_stage(config, publisher, metrics, source) for source in config.ingest.sources]


def _stage(
    config: Config, publisher: Publisher, metrics: IngestMetrics, source: KafkaSource
) -> Stage:
    return Stage(
        name=f"ingest.{source.topic}",
        topics=(source.topic,),
        outputs=(config.topics.names.of(source.signal),),
        sink=lambda _topic, _partition: SourceSink(source, publisher, metrics),
        merge_max_bytes=config.ingest.source_merge_max,
    )
