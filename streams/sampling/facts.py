"""What policies and sampling keys need to know about spans beyond the scan."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas.config import Sampling
from schemas.config.matching import span_conditions
from streams.sampling.columns import SpanFacts
from streams.sampling.interning import Interned
from streams.sampling.span_conditions import SpanConditions
from streams.wire import Attribute, SpanScan, Values, lookup, service_hash, trace_state

__all__ = ["Facts"]


class Facts:
    """Reads a batch's spans for the policies and the key of ``settings``.

    ``texts`` learns the readable form of what keys consist of.
    """

    def __init__(self, settings: Sampling, texts: Interned) -> None:
        key = settings.key
        self._in_key = [_attribute(field) for field in key if "." in field]
        self._named = "operation" in key or "root_operation" in key
        self._texts = texts
        policies = settings.policies
        self.fields = len(self._in_key)
        """Rows of ``SpanFacts.extra``: attributes in the key."""
        self.refused = 0
        """Spans so far whose ``th`` or ``rv`` could not be read."""
        self._conditions = SpanConditions(
            span_conditions([policy.match for policy in policies]), self.fields
        )
        self._attributes = (*self._in_key, *self._conditions.attributes)

    def of(self, data: bytes, scan: SpanScan) -> SpanFacts:
        """Facts about the spans of ``data``, of which ``scan`` is the scan."""
        values = lookup(data, scan, self._attributes) if self._attributes else None
        services = service_hash(data, scan)
        states = trace_state(data, scan)
        self.refused += states.refused
        self._learn_texts(data, scan, values, services)
        if values is None:
            extra = np.zeros((0, scan.items), np.uint64)
        else:
            extra = values.hash[: self.fields]
        return SpanFacts(
            services[scan.resource] if scan.items else np.zeros(0, np.uint64),
            extra,
            self._conditions.of(data, scan, values),
            states.randomness,
            states.threshold,
        )

    def _learn_texts(
        self,
        data: bytes,
        scan: SpanScan,
        values: Values | None,
        services: NDArray[np.uint64],
    ) -> None:
        self._add(services, lambda resource: scan.service_name(data, resource))
        if self._named:
            self._add(scan.name_hash, lambda span: scan.span_name(data, span))
        for field in range(self.fields if values is not None else 0):
            assert values is not None  # noqa: S101 - for the type checker
            self._add(values.hash[field], _text_of(values, data, field))

    def _add(self, hashes: NDArray[np.uint64], text: Callable[[int], str]) -> None:
        for row in self._texts.unknown(hashes).tolist():
            self._texts.add(int(hashes[row]), text(row))


def _text_of(values: Values, data: bytes, field: int) -> Callable[[int], str]:
    return lambda span: values.text(data, field, span)


def _attribute(field: str) -> Attribute:
    where, _, key = field.partition(".")
    return Attribute("span" if where == "span" else "resource", key)
