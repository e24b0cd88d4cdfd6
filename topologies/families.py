"""Plain counts as families of Prometheus: made when somebody scrapes, and not while counting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from streams.sampling.counts import Histogram

__all__ = ["Table", "by_partition", "counters", "labelled", "seconds"]

Table = tuple[tuple[str, str, str], ...]
"""Attribute of the counts, metric, help."""


def counters(prefix: str, table: Table, counts: Any) -> Iterator[Metric]:
    """A counter each."""
    for attribute, name, text in table:
        yield CounterMetricFamily(prefix + name, text, value=getattr(counts, attribute))


def labelled(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    """A counter by labels: keys are texts, or tuples of what becomes text."""
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items(), key=lambda each: str(each[0])):
        parts = key if isinstance(key, tuple) else (key,)
        family.add_metric([str(part) for part in parts], value)
    return family


def by_partition(
    name: str,
    text: str,
    values: Iterable[tuple[tuple[Any, ...], float]],
    labels: tuple[str, ...] = (),
) -> Metric:
    """A gauge by partition, and by what else tells its values apart."""
    family = GaugeMetricFamily(name, text, labels=("partition", *labels))
    for key, value in values:
        family.add_metric([str(part) for part in key], value)
    return family


def seconds(name: str, text: str, histogram: Histogram) -> Metric:
    """A histogram of milliseconds, as seconds."""
    buckets, total = [], 0
    for bound, count in zip((*histogram.bounds, None), histogram.buckets, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else str(bound / 1000), float(total)))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total / 1000)
