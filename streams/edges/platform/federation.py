"""Metrics of several processes as one exposition, told apart by labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

__all__ = ["Federation"]


class Federation(Collector):
    """Collects what was added; families of one name are joined.

    A label that a sample carries already wins over an added one of the same name.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def add(self, exposition: str, labels: Mapping[str, str]) -> None:
        """Add a text exposition (Prometheus text format 0.0.4). ValueError if it is none."""
        self._join(text_string_to_metric_families(exposition), labels)

    def add_registry(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        """Add what a registry of this process holds."""
        self._join(registry.collect(), labels)

    def gauge(self, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        """Add one gauge sample."""
        family = GaugeMetricFamily(name, text, labels=tuple(labels))
        family.add_metric(tuple(labels.values()), value)
        self._join([family], {})

    def counter(self, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        """Add one counter sample; ``_total`` is added to the name."""
        family = CounterMetricFamily(name, text, labels=tuple(labels))
        family.add_metric(tuple(labels.values()), value)
        self._join([family], {})

    def _join(self, families: Iterable[Metric], labels: Mapping[str, str]) -> None:
        for family in families:
            joined = self._families.get(family.name)
            if joined is None:
                joined = Metric(family.name, family.documentation, family.type, family.unit)
                self._families[family.name] = joined
            for sample in family.samples:
                joined.samples.append(sample._replace(labels={**labels, **sample.labels}))

    def collect(self) -> Iterator[Metric]:
        """The joined families, by name."""
        yield from (self._families[name] for name in sorted(self._families))
