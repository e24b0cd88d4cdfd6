"""Partials beside the operators of whoever scans a source."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.operators import Operator
from schemas.signals import Signal
from streams.windows.partial_counts import PartialCounts

from .metrics import PartialMetrics

__all__ = ["PartialsHost"]


class PartialsHost:
    """Makes the operators of a stage; none where nothing is aggregated.

    Args:
        config: the whole configuration.
        registry: where their metrics appear.
    """

    def __init__(self, config: Config, registry: CollectorRegistry) -> None:
        self._config = config
        self._counts: PartialCounts | None = None
        if config.windows.enabled:
            self._counts = PartialCounts()
            PartialMetrics(registry, self._counts)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Topics that they write; nothing may be left out of these."""
        names = self._config.topics.names
        return () if self._counts is None else (names.windows_partials,)

    def operators(
        self, signal: Signal, topic: str, partition: int, partitions: int
    ) -> tuple[Operator, ...]:
        """Those of a partition, to be hosted beside others over the same scan."""
        if self._counts is None:
            return ()
        # Who aggregates nothing need not load it.
        from streams.windows.partials import Partials  # noqa: PLC0415

        topics = self._config.topics
        operator = Partials(
            self._config.windows,
            signal=signal,
            source=topic,
            partition=partition,
            partitions=partitions,
            output=topics.names.windows_partials,
            output_partitions=topics.partitions,
            counts=self._counts,
        )
        return (operator,)

    def warm_up(self, *signals: Signal) -> None:
        """Compile or load what they need for these signals; ``wire.warm_up`` comes before."""
        if self._counts is None:
            return
        from streams.windows.partials_warming import warm_up_partials  # noqa: PLC0415

        warm_up_partials(*signals)
