"""A message of the topic ``windows`` as arrays: of which series, and which numbers of a row.

Its header ``window`` says RULE/LENGTH_MS/END_MS. What its metrics mean follows from the rule's
signal and their names:

=======  ============================================  ==========================================
signal   metric that comes out                         columns of a row
=======  ============================================  ==========================================
spans    Sum ``*.calls``, Sum ``*.errors``             count; errors
spans    distribution ``*.duration``                   sum, min, max, p50, p90, p99
logs     Sum                                           count
metrics  Sum NAME                                      sum
metrics  distribution NAME                             count, sum, min, max, p50, p90, p99
metrics  Gauge ``NAME.last``                           last
=======  ============================================  ==========================================

All of one name, resource and attributes are one series; of spans and logs the name says nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batches import Headers
from schemas.config.windows import WindowRule
from schemas.errors import MalformedMessage
from streams import wire
from streams.windows.quantiles import point_quantiles

from .finding import CALLS, DURATION, ERRORS, INCREASE, LAST, VALUES, scatter
from .reading import identify, scope_names
from .statistics import Kind

__all__ = ["SCOPE", "Closing", "Points", "WindowHeader", "closing", "read", "window_header"]

WINDOW, CLOSED, TENANT = "window", "window.closed", "tenant"
SCOPE = "otlp-streams.windows"
SERIES_METRIC = "otlp_streams.window.series"
SILENT_METRIC = "otlp_streams.window.silent_sources"

_SCOPE_HASH = wire.hash64(SCOPE.encode())
_END_MAX_MS = 253_402_300_799_999
"""The last moment of the year 9999."""
_NONE = 0
_SUM, _GAUGE = 7, 5
_RANKS = np.array([0.5, 0.9, 0.99])


class WindowHeader(NamedTuple):
    """What a message is about."""

    rule: str
    length_ms: int
    end_ms: int
    closed: bool
    """It is the last one of this window and partition."""
    tenant: str


def window_header(headers: Headers) -> WindowHeader | None:
    """What its headers say; None: it is none of ours. Raises MalformedMessage."""
    window = tenant = closed = None
    for name, value in headers:
        if name == WINDOW:
            window = value
        elif name == TENANT:
            tenant = value
        elif name == CLOSED:
            closed = value
    if window is None:
        return None
    try:
        rule, length, end = window.decode("ascii").split("/")
        header = WindowHeader(
            rule, int(length), int(end), closed == b"1", (tenant or b"").decode()
        )  # fmt: skip
    except ValueError:
        raise MalformedMessage(
            "header `window` is not RULE/LENGTH_MS/END_MS, or `tenant` no text"
        ) from None
    if header.length_ms < 1 or not 0 <= header.end_ms < _END_MAX_MS:
        raise MalformedMessage(f"header `window` with length or end out of range: {window!r}")
    return header


class Points(NamedTuple):
    """Points of one message that count."""

    data: bytes
    scan: wire.PointScan
    said: wire.Points
    series: NDArray[np.uint64]
    """By point: hash of its series; 0: it does not count."""
    quantiles: NDArray[np.float64]
    """p50, p90, p99 by point."""
    roles: NDArray[np.uint8]
    """By metric."""
    names: list[str]
    """By metric: of the series."""
    foreign: int
    """Points of other scopes."""
    faulty: int
    """Points of ours that say nothing that can be used."""

    def kind(self, point: int, rule: WindowRule) -> int:
        """``statistics.Kind`` of a point's series."""
        if rule.signal != "metrics":
            return Kind.COUNTED
        role = self.roles[int(self.scan.metric[point])]
        return Kind.SUMMED if role == INCREASE else Kind.MEASURED

    def name(self, point: int) -> str:
        """The metric that a point's series is of; '' for spans and logs."""
        return self.names[int(self.scan.metric[point])]

    def put(
        self,
        numbers: NDArray[np.int32],
        rows: NDArray[np.float64],
        filled: NDArray[np.uint8],
        traces: NDArray[np.uint64],
    ) -> None:
        """Write them into the rows of their series, -1: none; a row's first makes it unknown."""
        said = self.said
        scatter(
            *(numbers, self.roles, self.scan.metric, said.value, said.count, said.sum),
            *(said.min, said.max, self.quantiles),
            *(said.exemplar_trace_id_high, said.exemplar_trace_id_low, rows, filled, traces),
        )


def read(data: bytes, scan: wire.PointScan, rule: WindowRule, header: WindowHeader) -> Points:
    """What a message says that is not the closing one."""
    metrics = scan.metrics
    roles, names = np.zeros(metrics, np.uint8), [""] * metrics
    bases = np.zeros(metrics, np.uint64)
    known: dict[tuple[int, int], tuple[int, str, int]] = {}
    first = scan.level_first
    of_metric: list[int] = scan.hashes[first[3] : first[4]].tolist()
    kinds = _kinds(scan)
    for metric, key in enumerate(zip(of_metric, kinds, strict=True)):
        found = known.get(key)
        if found is None:
            role, name = _role(rule, scan.metric_name(data, metric), key[1])
            found = known[key] = role, name, (wire.hash64(name.encode()) or 1) if role else 0
        roles[metric], names[metric], bases[metric] = found
    whose = f"{header.tenant}\0{header.rule}/{header.length_ms}"
    said = wire.points(data, scan)
    series = np.empty(scan.items, np.uint64)
    seed = np.uint64(wire.hash64(whose.encode()))
    identify(
        seed, scan.resource, scan.metric, scan.resource_hash, bases, said.attributes_hash, series
    )
    ours = _ours(data, scan)
    foreign = int(np.count_nonzero(~ours))
    faulty = int(np.count_nonzero(ours & (said.faults != 0)))
    if foreign or faulty:
        series[~ours | (said.faults != 0)] = 0
    ranks = point_quantiles(_RANKS, scan, said)
    return Points(data, scan, said, series, ranks, roles, names, foreign, faulty)


def _ours(data: bytes, scan: wire.PointScan) -> NDArray[np.bool_]:
    """By point: whether windows have made it."""
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False  # for numba another type, and another compilation
    scopes = np.empty(scan.scopes, np.uint64)
    scope_names(array, scan.nodes, scan.gaps, scan.level_first[2], scopes)
    found: NDArray[np.bool_] = (scopes == np.uint64(_SCOPE_HASH))[scan.scope]
    return found


def _kinds(scan: wire.PointScan) -> list[int]:
    """Field of Metric.data by metric; 0: it has no points."""
    kinds = np.zeros(scan.metrics, np.int64)
    kinds[scan.metric] = scan.data
    found: list[int] = kinds.tolist()
    return found


def _role(rule: WindowRule, name: str, kind: int) -> tuple[int, str]:
    """Role of a metric that comes out, and the metric that went in; '' for spans and logs."""
    if rule.signal == "spans":
        if kind == _SUM:
            ends = {".calls": CALLS, ".errors": ERRORS}
            return ends.get(name[name.rfind(".") :], _NONE), ""
        return (DURATION if kind != _GAUGE and name.endswith(".duration") else _NONE), ""
    if rule.signal == "logs":
        return (CALLS if kind == _SUM else _NONE), ""
    role = INCREASE if kind == _SUM else VALUES
    if kind == _GAUGE:
        # Other gauges (NAME.p99) say again what the distribution says.
        role = LAST if name.endswith(".last") else _NONE
        name = name.removesuffix(".last")
    return role, (rule.metric or "") if rule.output else name.removeprefix("window.")


class Closing(NamedTuple):
    """What the last message of a window says."""

    series: int
    """Groups in it, of all that are aggregated."""
    silent_sources: int
    """Source partitions that nothing is known of: what is missing may not be absent."""


def closing(data: bytes, scan: wire.PointScan) -> Closing:
    """Read a closing message; what it does not say is 0."""
    values: dict[str, int] = {}
    said = wire.points(data, scan)
    for point in np.flatnonzero(_ours(data, scan) & (said.faults == 0)).tolist():
        name = scan.metric_name(data, int(scan.metric[point]))
        values[name] = int(min(max(said.value[point], 0.0), 2.0**31))
    return Closing(values.get(SERIES_METRIC, 0), values.get(SILENT_METRIC, 0))
