"""Which figures are shown, as a table, and how two scrapes become rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from .policies import PolicyRow, policies
from .scrape import Process, Scrape

__all__ = ["FIGURES", "Figure", "Row", "rows"]


class Figure(NamedTuple):
    """One column: the sum of some samples, or its growth per second."""

    name: str
    title: str
    kind: Literal["rate", "value"]
    unit: Literal["count", "bytes", "share"]
    samples: tuple[str, ...]
    essential: bool = False
    """Shown on a narrow terminal too."""


FIGURES = (
    Figure("items", "items/s", "rate", "count", (
        "otlp_streams_ingest_items_total:taken", "otlp_streams_export_items_total:delivered",
    )),
    Figure("in", "in/s", "rate", "count", (
        "otlp_streams_receiver_requests_total", "otlp_streams_messages_in_total",
    ), essential=True),
    Figure("bytes_in", "B/s in", "rate", "bytes", (
        "otlp_streams_receiver_inflated_bytes_total", "otlp_streams_bytes_in_total",
    )),
    Figure("out", "out/s", "rate", "count", (
        "otlp_streams_ingest_messages_total:acknowledged", "otlp_streams_messages_out_total",
    ), essential=True),
    Figure("bytes_out", "B/s out", "rate", "bytes", (
        "otlp_streams_ingest_bytes_total", "otlp_streams_bytes_out_total",
    ), essential=True),
    Figure("open", "open", "value", "count", (
        "otlp_streams_sampling_open_traces", "otlp_streams_windows_open_cells",
    )),
    Figure("firing", "firing", "value", "count", ("otlp_streams_alerts_active:firing",)),
    Figure("lag", "lag", "value", "count", ("otlp_streams_lag_messages",), essential=True),
    Figure("inflight", "in flight", "value", "bytes", (
        "otlp_streams_receiver_inflight_bytes", "otlp_streams_lane_bytes",
    )),
    Figure("transactions", "tx/s", "rate", "count", ("otlp_streams_transactions_total",)),
    Figure("aborts", "aborts", "value", "count", ("otlp_streams_transaction_aborts_total",)),
    Figure("recoveries", "recov.", "value", "count", ("otlp_streams_recoveries_total",)),
    Figure("replayed", "replayed", "value", "count", ("otlp_streams_replayed_messages_total",)),
    Figure("retries", "retries", "value", "count", (
        "otlp_streams_retries_total", "otlp_streams_export_retries_total",
    )),
    Figure("dead_letters", "dead", "value", "count", ("otlp_streams_dead_letters_total",)),
    Figure("refused", "refused", "value", "count", (
        "otlp_streams_receiver_refused_requests_total",
    )),
    Figure("cpu", "CPU", "rate", "share", ("process_cpu_seconds_total",), essential=True),
    Figure("rss", "RSS", "value", "bytes", ("process_resident_memory_bytes",), essential=True),
)  # fmt: skip
"""Requests or messages are counted as ``in`` and ``out``; items only where they are looked at."""


class Row(NamedTuple):
    """One process; a figure is None where it has no such metric."""

    stage: str
    worker: str
    state: str
    ready: bool
    reason: str
    restarts: int
    figures: Mapping[str, float | None]
    policies: tuple[PolicyRow, ...] = ()
    """Of a process that samples."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        policies = [each.as_dict() for each in self.policies]
        return {**self._asdict(), "figures": dict(self.figures), "policies": policies}


def rows(before: Scrape | None, now: Scrape) -> list[Row]:
    """A row per process, rates since ``before``; none of them without it."""
    found = []
    processes = list(now.status) + [p for p in now.values if p not in now.status]
    for process in processes:
        status = now.status.get(process, {})
        reason = status.get("reason") or ""
        found.append(
            Row(
                stage=process[0] or "process",
                worker=process[1],
                state=str(status.get("state", "running")),
                ready=bool(status.get("ready", True)),
                reason=str(reason),
                restarts=int(status.get("restarts", 0)),
                figures={figure.name: _figure(figure, process, before, now) for figure in FIGURES},
                policies=tuple(_policies(process, before, now)),
            )
        )
    return found


def _policies(process: Process, before: Scrape | None, now: Scrape) -> list[PolicyRow]:
    if process not in now.policies:
        return []
    if before is None or process not in before.policies:
        return policies(None, now.policies[process], 1)
    seconds = now.time_s - before.time_s
    return policies(before.policies[process], now.policies[process], seconds)


def _figure(figure: Figure, process: Process, before: Scrape | None, now: Scrape) -> float | None:
    value = _sum(figure, now.values.get(process, {}))
    if value is None or figure.kind == "value":
        return value
    if before is None or process not in before.values:
        return None
    # A counter that is smaller belongs to a process that began anew.
    was = _sum(figure, before.values[process]) or 0.0
    grown = value - was if value >= was else value
    return grown / max(now.time_s - before.time_s, 1e-9)


def _sum(figure: Figure, values: Mapping[str, float]) -> float | None:
    present = [values[name] for name in figure.samples if name in values]
    return sum(present) if present else None
