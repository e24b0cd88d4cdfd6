"""Traffic for the fault benchmark: traces of a recording, drawn again and again, with faults in it.

Whole traces come as a Poisson process whose rate follows a slow wave; each is drawn from the
recording, gets ids and times of its own, and is sent when it is over and a batch processor has held
it for up to five seconds. What a fault touches is altered as ``streams.recording.inject`` does it.
Everything follows from the seed. A request never mixes traces of different seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.signals import Signal
from streams.recording import frames
from streams.recording.frames import Request
from streams.recording.inject import Injection, inject
from streams.recording.laps import at_lap, fresh
from streams.recording.layout import Layout, find
from streams.wire import json as wire_json

__all__ = ["Fault", "Pool", "Sent", "Traffic", "schedule"]

HELD_MAX_S = 5.0
"""Of a batch span processor: OTEL_BSP_SCHEDULE_DELAY."""
_NS = 1_000_000_000
_KINDS = ("errors", "latency", "load", "silence")


class Fault(NamedTuple):
    """What is wrong, where, and from when to when (Unix seconds)."""

    kind: str
    service: str
    start_s: float
    stop_s: float
    size: float
    """Rate of errors, factor of latency or load; 0 for silence."""

    def injection(self) -> Injection:
        """As ``streams.recording.inject`` takes it."""
        options: dict[str, Any] = {
            "errors": {"rate": self.size, "ancestors": False},
            "latency": {"factor": self.size, "add": 0.0, "rate": 1.0},
            "silence": {},
        }[self.kind]
        start_ns, stop_ns = round(self.start_s * _NS), round(self.stop_s * _NS)
        return Injection(self.kind, self.service, start_ns, stop_ns, options)


class Sent(NamedTuple):
    """Everything of a signal that arrives in one second."""

    second: int
    signal: Signal
    data: bytes


class _Recorded(NamedTuple):
    """A trace of the recording: its spans and their logs, as requests."""

    requests: tuple[Request, ...]
    layouts: tuple[Layout, ...]
    begin_ns: int
    end_ns: int
    services: frozenset[str]


class Pool:
    """The traces of a recording that lasted at most a minute, with their log records."""

    def __init__(self, directory: Path) -> None:
        traces: dict[bytes, dict[Signal, Any]] = defaultdict(dict)
        services: dict[bytes, set[str]] = defaultdict(set)
        self.spans_by_service: dict[str, int] = defaultdict(int)
        for signal, kind, outer, scoped, items in (
            (Signal.TRACES, ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
            (Signal.LOGS, ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
        ):
            with (directory / f"{signal}.otlp.zst").open("rb") as stream:
                for request in frames.read(stream, signal, wire_json.decode):
                    message = kind.FromString(request.data)
                    for resource in getattr(message, outer):
                        service = _service(resource.resource)
                        for scope in getattr(resource, scoped):
                            for item in getattr(scope, items):
                                mine = traces[item.trace_id].setdefault(signal, kind())
                                target = getattr(mine, outer).add()
                                target.resource.CopyFrom(resource.resource)
                                getattr(getattr(target, scoped).add(), items).add().CopyFrom(item)
                                if signal is Signal.TRACES:
                                    services[item.trace_id].add(service)
                                    self.spans_by_service[service] += 1
        self.traces: list[_Recorded] = []
        for trace_id in sorted(traces):
            found = traces[trace_id]
            if Signal.TRACES not in found:
                continue
            requests = tuple(Request(s, m.SerializeToString()) for s, m in found.items())
            layouts = tuple(find(each.signal, each.data) for each in requests)
            spans = layouts[[r.signal for r in requests].index(Signal.TRACES)]
            if spans.latest_ns - spans.earliest_ns <= 60 * _NS:
                self.traces.append(
                    _Recorded(
                        requests, layouts, spans.earliest_ns, spans.latest_ns,
                        frozenset(services[trace_id]),
                    )
                )  # fmt: skip

    def touching(self, service: str) -> list[int]:
        """Traces in which a service takes part."""
        return [i for i, trace in enumerate(self.traces) if service in trace.services]


def _service(resource: Any) -> str:
    return next((a.value.string_value for a in resource.attributes if a.key == "service.name"), "")


def schedule(
    pool: Pool,
    rng: np.random.Generator,
    *,
    begin_s: float,
    stop_s: float,
    length_s: float,
    pause_s: float,
    least_share: float = 0.005,
) -> list[Fault]:
    """Faults one after the other: kind in turn, a service and a size by the seed.

    Services with less than ``least_share`` of all spans are left out: a handful of spans a minute
    says nothing for sure.
    """
    total = sum(pool.spans_by_service.values())
    services = sorted(s for s, n in pool.spans_by_service.items() if n >= least_share * total)
    sizes = {"errors": (0.2, 0.5, 1.0), "latency": (3.0, 5.0, 10.0), "load": (3.0, 5.0),
             "silence": (0.0,)}  # fmt: skip
    faults, at_s = [], begin_s
    while at_s + length_s <= stop_s:
        kind = _KINDS[len(faults) % len(_KINDS)]
        start_s = at_s + float(rng.uniform(0, pause_s / 4))
        size = float(rng.choice(sizes[kind]))
        service = str(rng.choice(services))
        faults.append(Fault(kind, service, start_s, start_s + length_s, size))
        at_s = start_s + length_s + pause_s
    return faults


class Traffic:
    """Requests second by second.

    Args:
        rate: traces a second, on average.
        wave: part of the rate that comes and goes within ``wave_s``.
    """

    def __init__(
        self,
        pool: Pool,
        faults: Sequence[Fault],
        rng: np.random.Generator,
        *,
        rate: float,
        wave: float = 0.3,
        wave_s: float = 3600.0,
    ) -> None:
        self._pool = pool
        self._faults = faults
        self._rng = rng
        self._rate = rate
        self._wave = wave
        self._wave_s = wave_s
        self._touching = {f.service: pool.touching(f.service) for f in faults}

    def seconds(self, begin_s: int, stop_s: int) -> Iterator[list[Sent]]:
        """What arrives in each second, in order."""
        waiting: dict[int, dict[Signal, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        for second in range(begin_s, stop_s):
            for at_s, chosen in self._starts(second):
                self._send(at_s, self._pool.traces[chosen], waiting, second)
            arrived = waiting.pop(second, {})
            yield [Sent(second, signal, b"".join(parts)) for signal, parts in arrived.items()]

    def _starts(self, second: int) -> Iterator[tuple[float, int]]:
        rate = self._rate * (1 + self._wave * np.sin(2 * np.pi * second / self._wave_s))
        for _ in range(self._rng.poisson(rate)):
            yield second + self._rng.random(), int(self._rng.integers(len(self._pool.traces)))
        for fault in self._faults:
            if fault.kind == "load" and fault.start_s <= second < fault.stop_s:
                among = self._touching[fault.service]
                share = len(among) / len(self._pool.traces)
                for _ in range(self._rng.poisson(rate * share * (fault.size - 1))):
                    yield second + self._rng.random(), int(self._rng.choice(among))

    def _send(
        self,
        at_s: float,
        trace: _Recorded,
        waiting: dict[int, dict[Signal, list[bytes]]],
        second: int,
    ) -> None:
        lap = fresh(self._rng, round(at_s * _NS) - trace.begin_ns)
        requests = [
            Request(request.signal, at_lap(request.data, layout, lap))
            for request, layout in zip(trace.requests, trace.layouts, strict=True)
        ]
        end_ns = trace.end_ns + lap.shift_ns
        hit = [
            fault.injection()
            for fault in self._faults
            if fault.kind != "load"
            and fault.service in trace.services
            and fault.start_s * _NS < end_ns
            and at_s < fault.stop_s
        ]
        if hit:
            requests = inject(requests, hit, self._rng)[0]
            ends = [
                span.end_time_unix_nano
                for request in requests
                if request.signal is Signal.TRACES
                for resource in ExportTraceServiceRequest.FromString(request.data).resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            end_ns = max(ends, default=end_ns)
        sent = max(int(end_ns / _NS + self._rng.uniform(0, HELD_MAX_S)), second)
        for request in requests:
            waiting[sent][request.signal].append(request.data)
