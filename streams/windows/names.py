"""What many groups share: tenants, services, and shapes, the metrics that a kind of group has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.config.windows import WindowRule
from streams.wire import hash64

from .encoding import metric_head, resource
from .index import grown
from .naming import outputs
from .writing import METRIC, TEXT

__all__ = ["Names", "Shape"]

Shape = tuple[int, str, str, str]
"""Place of the rule, kind, metric, unit."""


class Names:
    """Numbers for names, and bytes of what requests say of them; bytes of groups lie there, too."""

    def __init__(self, rules: Sequence[WindowRule]) -> None:
        self._rules = rules
        self.texts = np.zeros(4096, np.uint8)
        self.texts_top = 0
        self.tenants: dict[str, int] = {}
        self.services: dict[str, int] = {}
        self.shapes: dict[Shape, int] = {}
        self.service_texts = np.zeros(16, TEXT)
        self.shape_stops = np.zeros(17, np.int32)
        self.metrics = np.zeros(16, METRIC)
        self._orders: tuple[list[int], list[int], list[int]] = ([], [], [])

    def text(self, data: bytes) -> int:
        """Put bytes there; gives where."""
        at = self.texts_top
        stop = at + len(data)
        if stop > len(self.texts):
            self.texts = grown(self.texts, max(stop, len(self.texts) * 5 // 4))
        self.texts[at:stop] = np.frombuffer(data, np.uint8)
        self.texts_top = stop
        return at

    def order(self, tenant: int, service: int, shape: int) -> int:
        """In this order groups of a tenant, service and shape are together, but for collisions."""
        tenants, services, shapes = self._orders
        return tenants[tenant] | services[service] | shapes[shape]

    def tenant(self, name: str) -> int:
        """Its number."""
        at = self.tenants.get(name)
        if at is None:
            at = self.tenants[name] = len(self.tenants)
            self._orders[0].append(_hash(name) >> 52 << 52)
        return at

    def service(self, name: str) -> int:
        """Its number."""
        at = self.services.get(name)
        if at is None:
            at = self.services[name] = len(self.services)
            self._orders[1].append(_hash(name) >> 36 << 24)
            if at >= len(self.service_texts):
                self.service_texts = grown(self.service_texts, 2 * at)
            data = resource(name)
            self.service_texts[at] = (self.text(data), len(data), 0)
        return at

    def shape(self, key: Shape) -> int:
        """Its number."""
        at = self.shapes.get(key)
        if at is None:
            at = self.shapes[key] = len(self.shapes)
            rule, kind, metric, unit = key
            name = self._rules[rule].name
            self._orders[2].append(_hash("\0".join((name, kind, metric, unit))) >> 40)
            if at + 1 >= len(self.shape_stops):
                self.shape_stops = grown(self.shape_stops, 2 * at + 2)
            made = outputs(self._rules[rule], kind, metric, unit)
            stop = int(self.shape_stops[at])
            if stop + len(made) > len(self.metrics):
                self.metrics = grown(self.metrics, 2 * (stop + len(made)))
            for output in made:
                head = metric_head(output)
                self.metrics[stop] = (
                    self.text(head), len(head), output.what, output.statistic, 0
                )  # fmt: skip
                stop += 1
            self.shape_stops[at + 1] = stop
        return at


def _hash(text: str) -> int:
    return hash64(text.encode("utf-8", "replace"))
