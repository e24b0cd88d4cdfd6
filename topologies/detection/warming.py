"""What detect compiles or loads before its first message.

Windows of two rules go through the operator, a restart in between; what it makes of them is lost.
"""

from __future__ import annotations

import struct
from typing import Any

from schemas.batches import Batch, Headers
from schemas.config import Alerts, Config, WindowRule, Windows
from schemas.operators import Scanned
from streams import wire
from streams.alerts.detect import Detect
from streams.anomaly.warming import warm_up_anomaly

__all__ = ["warm_up_detect"]

_LENGTH_MS = 10_000
_DELTA = b"\x10\x01"
_WINDOWS = Windows(
    rules=(
        WindowRule(name="spans", signal="spans", by=("k",), lengths=(10.0,)),
        WindowRule(name="m", signal="metrics", metric="*", lengths=(10.0,)),
    )
)
_CONDITIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("spans", "count", "absence", {"sensitivity": 1, "history": 1}),
    ("spans", "p99", "anomaly", {"sensitivity": 1}),
    ("spans", "rate", "threshold", {"op": ">", "value": 0}),
    ("m", "p90", "anomaly", {"sensitivity": 1}),
)


def warm_up_detect(config: Config) -> None:
    """Judge two windows, and take the state up again."""
    wire.warm_up()
    warm_up_anomaly(config.anomaly)
    rules = [
        {
            "name": f"r{n}",
            "on": {"window": window, "length": "10s", "statistic": statistic},
            condition: said,
        }
        for n, (window, statistic, condition, said) in enumerate(_CONDITIONS)
    ]
    alerts = Alerts.model_validate({"enabled": True, "builtin": False, "rules": rules})

    def detect() -> Detect:
        return Detect(
            alerts, _WINDOWS, config.anomaly, alerts_topic="a", state_topic="s", partition=0
        )

    operator = detect()
    for end_ms in (20_000, 30_000):
        _window(operator, end_ms)
    again = detect()
    again.restore(iter(operator.snapshot()))
    _window(again, 40_000)


def _window(operator: Detect, end_ms: int) -> None:
    one, half = struct.pack("<Q", 1), struct.pack("<d", 0.5)
    count = _point(end_ms, b"\x31" + one)
    # One value of 0.5: exponential buckets at scale 3, or explicit ones with a bound there.
    exponential = _point(
        end_ms, b"\x21" + one, b"\x29" + half, b"\x30\x06",
        _field(8, b"\x08\x11", _field(2, b"\x01")), attributes=1,
    )  # fmt: skip
    explicit = _point(
        end_ms,
        b"\x21" + one,
        b"\x29" + half,
        _field(6, one, bytes(8)),
        _field(7, half),
        attributes=9,
    )
    calls = _metric(b"t.calls", 7, count, _DELTA, b"\x18\x01")
    errors = _metric(b"t.errors", 7, count, _DELTA, b"\x18\x01")
    duration = _metric(b"t.duration", 10, exponential, _DELTA)
    _send(operator, b"spans", end_ms, calls + errors + duration)
    values = _metric(b"window.v", 9, explicit, _DELTA)
    last = _metric(b"window.v.last", 5, _point(end_ms, b"\x21" + half))
    _send(operator, b"m", end_ms, values + last)


def _send(operator: Detect, rule: bytes, end_ms: int, metrics: bytes) -> None:
    window = ("window", b"%s/%d/%d" % (rule, _LENGTH_MS, end_ms))
    closing = _metric(
        b"otlp_streams.window.series", 5, _point(end_ms, b"\x31" + struct.pack("<Q", 1))
    )
    messages: tuple[tuple[Headers, bytes], ...] = (
        ((window,), metrics),
        ((window, ("window.closed", b"1")), closing),
    )
    for headers, said in messages:
        scope = _field(1, _field(1, b"otlp-streams.windows"))
        service = _field(1, _field(1, _attribute(b"service.name")))
        value = _field(1, service + _field(2, scope + said))
        operator.process(Scanned(Batch("w", 0, 0, end_ms, None, value, headers), None))


def _metric(name: bytes, kind: int, points: bytes, *rest: bytes) -> bytes:
    return _field(2, _field(1, name), _field(kind, points, *rest))


def _point(end_ms: int, *fields: bytes, attributes: int = 7) -> bytes:
    times = [t * 1_000_000 for t in (end_ms - _LENGTH_MS, end_ms)]
    return _field(
        1,
        _field(attributes, _attribute(b"k")),
        struct.pack("<BQBQ", 0x11, times[0], 0x19, times[1]),
        *fields,
    )


def _attribute(key: bytes) -> bytes:
    return _field(1, key) + _field(2, _field(1, b"v"))


def _field(number: int, *parts: bytes) -> bytes:
    """A field of bytes, shorter than 16 KiB."""
    body = b"".join(parts)
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + body
