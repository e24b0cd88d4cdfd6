"""What windows say of services: calls, failures and how long they took, newest window first.

Every span is in a window of its service, whether its trace was kept or not. That is added up here,
so that the end of a demonstration can tell whether the sums are right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from schemas.config import Config
from streams import wire
from streams.windows.quantiles import point_quantiles

__all__ = ["RULE", "Services", "Window"]

RULE = "services"
"""The rule of windows that is shown."""
_SHOWN = 8
_WANTED = np.array([0.5, 0.99])
_CALLS, _ERRORS, _DURATION = (
    f"traces.span.metrics.{name}" for name in ("calls", "errors", "duration")
)

_NAMES = ("calls", "errors", "p50_s", "p99_s")


class Window(NamedTuple):
    """One window of a service."""

    end_ms: int
    calls: int
    errors: int
    p50_s: float
    p99_s: float


class Services:
    """The newest window of each service, and calls of all of them.

    Args:
        length_ms: of the windows that count.
    """

    def __init__(self, length_ms: int) -> None:
        self.length_ms = length_ms
        self.calls = 0
        """Spans in all windows so far."""
        self.counted = asyncio.Event()
        """Set when there are more of them."""
        self.windows = 0
        """Windows closed, of any service."""
        self.newest: dict[str, Window] = {}

    @classmethod
    def of(cls, config: Config) -> Services | None:
        """What the configuration lets see; None: it has no windows of services."""
        if not config.windows.enabled:
            return None
        for rule in config.windows.rules:
            if rule.name == RULE and rule.signal == "spans" and not rule.match:
                return cls(rule.lengths_ms[0])
        return None

    def taken(self, record: Any) -> None:
        """A message of ``windows``."""
        headers = dict(record.headers)
        if "window.closed" in headers or not record.value:
            return
        rule, length_ms, end_ms = headers.get("window", b"//").decode().split("/")
        if rule != RULE or int(length_ms) != self.length_ms:
            return
        found: dict[str, dict[str, float]] = {}
        scan = wire.scan_metrics(record.value)
        points = wire.points(record.value, scan)
        quantiles = point_quantiles(_WANTED, scan, points)
        for i in range(scan.items):
            service = scan.service_name(record.value, int(scan.resource[i]))
            name = scan.item_name(record.value, i)
            row = found.setdefault(service, dict.fromkeys(_NAMES, 0.0))
            if name == _CALLS:
                row["calls"] = float(points.value[i])
            elif name == _ERRORS:
                row["errors"] = float(points.value[i])
            elif name == _DURATION:
                row["p50_s"], row["p99_s"] = map(float, quantiles[:, i])
        self.counted.set()
        for service, row in found.items():
            window = Window(
                int(end_ms), round(row["calls"]), round(row["errors"]), row["p50_s"], row["p99_s"]
            )
            self.calls += window.calls
            self.windows += 1
            if service not in self.newest or self.newest[service].end_ms <= window.end_ms:
                self.newest[service] = window

    async def reaches(self, spans: Callable[[], int]) -> None:
        """Wait until so many spans are in windows."""
        while self.calls < spans():
            self.counted.clear()
            await self.counted.wait()

    def line(self) -> str:
        """The same in one line, for where there is no terminal."""
        busiest = self._busiest()[:3]
        said = ", ".join(
            f"{service} {window.calls / self.length_ms * 1000:,.0f} calls/s, "
            f"{window.errors / max(window.calls, 1):.0%} failed, p99 {window.p99_s * 1000:,.0f} ms"
            for service, window in busiest
        )
        return f"windows of {self.length_ms / 1000:g} s: {said or 'none is over'}"

    def _busiest(self) -> list[tuple[str, Window]]:
        return sorted(self.newest.items(), key=lambda one: -one[1].calls)

    def __rich__(self) -> RenderableType:
        """The busiest services."""
        shown = Table(box=None, pad_edge=False)
        shown.add_column("service, last window")
        for title in ("calls/s", "failed", "p50 ms", "p99 ms"):
            shown.add_column(title, justify="right")
        for service, window in self._busiest()[:_SHOWN]:
            share = window.errors / max(window.calls, 1)
            style = "red" if share > 0.2 else ""
            shown.add_row(
                escape(service),
                f"{window.calls / self.length_ms * 1000:,.0f}",
                f"{share:.1%}",
                f"{window.p50_s * 1000:,.1f}",
                f"{window.p99_s * 1000:,.1f}",
                style=style,
            )
        return shown
