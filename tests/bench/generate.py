"""Span requests of any number in two shapes, made from the recording with fresh ids.

``small``: the recording's own spans, about 93 bytes each. ``rich``: the same with attributes of
the semantic conventions for an HTTP server, about 528 bytes each. Small requests are merged to
about 512 spans. Every lap over the recording has other trace ids and later times; the rest of
the bytes repeats.

python -m tests.bench.generate OUT small|rich SPANS [RECORDING]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.signals import Signal
from streams import wire
from streams.recording import frames
from topologies.demo_data import EXCERPT

from .frames import write_frames

__all__ = ["RECORDING", "Shape", "recorded_requests", "span_requests"]

Shape = Literal["small", "rich"]
RECORDING = EXCERPT / "traces.otlp.zst"

_BROWSERS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0 Safari/537.36",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
)
_RESOURCE = {
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.language": "java",
    "telemetry.sdk.version": "1.40.0",
    "service.namespace": "trainticket",
    "deployment.environment.name": "prod",
}


def recorded_requests(path: Path = RECORDING, signal: Signal = Signal.TRACES) -> list[bytes]:
    """The requests of a recording as they were sent."""
    with path.open("rb") as stream:
        return [request.data for request in frames.read(stream, signal, lambda _, data: data)]


def _add(owner: Any, values: dict[str, str | int]) -> None:
    for key, value in values.items():
        content = owner.attributes.add(key=key).value
        if isinstance(value, int):
            content.int_value = value
        else:
            content.string_value = value


def _enrich(data: bytes, rng: random.Random) -> bytes:
    request = ExportTraceServiceRequest.FromString(data)
    for group in request.resource_spans:
        _add(group.resource, dict(_RESOURCE))
        for span in (span for scope in group.scope_spans for span in scope.spans):
            user = rng.getrandbits(64)
            _add(
                span,
                {
                    "http.request.method": rng.choice(("GET", "GET", "GET", "POST")),
                    "http.response.status_code": rng.choice((200, 200, 200, 201, 304)),
                    "url.path": f"/api/v1/orders/{user & 0xFFFFFFFF:08x}/items",
                    "http.route": "/api/v1/orders/{id}/items",
                    "server.address": "ts-order-service",
                    "server.port": 12031,
                    "user_agent.original": rng.choice(_BROWSERS),
                    "network.peer.address": f"10.244.{rng.randrange(4)}.{rng.randrange(250)}",
                    "thread.id": rng.randrange(200),
                    "thread.name": f"http-nio-12031-exec-{rng.randrange(200)}",
                    "enduser.id": f"user-{user:016x}",
                },
            )
    return request.SerializeToString()


class _Template(NamedTuple):
    """A request and where its ids and times lie."""

    data: NDArray[np.uint8]
    trace_ids: NDArray[np.int64]
    times: NDArray[np.int64]
    earliest: int
    latest: int


def _template(data: bytes) -> _Template:
    scan = wire.scan_traces(data)
    starts = scan.start.astype(np.int64)
    array = np.frombuffer(data, np.uint8)
    # As the official library writes a span: trace id first, both times after name and kind.
    assert bool((array[starts] == 0x0A).all())
    times = []
    for start, stop, finish in zip(
        starts.tolist(), scan.name_stop.tolist(), scan.stop.tolist(), strict=True
    ):
        at = max(start, stop)
        at += 2 if data[at] == 0x30 else 0
        assert data[at] == 0x39, "a span without name or start time"
        assert data[at + 9] == 0x41
        assert at + 18 <= finish
        times += [at + 1, at + 10]
    span = np.arange(16)
    return _Template(
        array,
        (starts[:, None] + 2 + span).ravel(),
        (np.array(times, np.int64)[:, None] + span[:8]).ravel(),
        int(scan.start_time.min()),
        int(scan.end_time.max()),
    )


def span_requests(
    shape: Shape, spans: int, path: Path = RECORDING, per_request: int = 512, seed: int = 7
) -> Iterator[bytes]:
    """Requests with at least ``spans`` spans in all; the same for the same arguments."""
    rng = random.Random(seed)
    templates: list[_Template] = []
    parts: list[bytes] = []
    count = 0
    for data in recorded_requests(path):
        parts.append(_enrich(data, rng) if shape == "rich" else data)
        count += wire.scan_traces(data).items
        if count >= per_request:
            templates.append(_template(wire.merge(parts)))
            parts, count = [], 0
    if parts:
        templates.append(_template(wire.merge(parts)))
    lap_nanos = max(t.latest for t in templates) - min(t.earliest for t in templates)
    made = lap = 0
    while True:
        salt = np.frombuffer(rng.randbytes(16), np.uint8)
        for template in templates:
            if made >= spans:
                return
            data = template.data.copy()
            count = len(template.trace_ids) // 16
            data[template.trace_ids] ^= np.tile(salt, count)
            times = data[template.times].view("<u8") + np.uint64(lap * lap_nanos)
            data[template.times] = times.view(np.uint8)
            made += count
            yield data.tobytes()
        lap += 1


def main() -> None:
    """Write a file of frames."""
    out, shape, spans, *path = sys.argv[1:]
    if shape not in ("small", "rich"):
        raise SystemExit(__doc__)
    recording = Path(path[0]) if path else RECORDING
    write_frames(Path(out), span_requests(shape, int(spans), recording))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
