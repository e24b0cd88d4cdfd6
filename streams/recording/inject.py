"""Faults put into a recording on purpose, by a seed, with a record of the truth.

``KIND:SERVICE@START+DURATION[,OPTION=VALUE]...``, such as ``latency:ts-order-service@20s+30s``.
START is a time since the recording's first, or a moment of it (``2023-01-29T08:43:04Z``);
SERVICE is a ``service.name``, ``*`` for all. An item belongs to the fault if it begins in it:
a span by its start, a log record or data point by its time. Every lap of a replay has the fault.

=========  =============================  ====================================================
kind       options                        what happens
=========  =============================  ====================================================
errors     rate=1, ancestors=false        spans get status ERROR and an ``exception`` event
latency    factor=5, add=0s, rate=1       spans of the service take longer, and what waits too
load       factor=3                       whole traces that touch the service come again
silence                                   spans, log records and points are missing
=========  =============================  ====================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np

from schemas.config.units import parse_duration
from schemas.errors import ConfigurationError
from schemas.signals import Signal

from . import messages
from .frames import Request
from .laps import Lap, at_lap, fresh
from .latency import Timed, delay
from .layout import find
from .messages import Parsed, SpanRef

__all__ = ["Injection", "Truth", "inject", "parse"]

_OPTIONS: dict[str, dict[str, Any]] = {
    "errors": {"rate": 1.0, "ancestors": False},
    "latency": {"factor": 5.0, "add": 0.0, "rate": 1.0},
    "load": {"factor": 3.0},
    "silence": {},
}
_JITTER_MAX_NS = 1_000_000_000
"""Traces that come again do so up to this much later, lest they be the same to the nanosecond."""


class Injection(NamedTuple):
    """One fault, in the recording's own time (Unix nanoseconds, end excluded)."""

    kind: str
    service: str
    start_ns: int
    end_ns: int
    options: Mapping[str, Any]

    def covers(self, service: str, time_ns: int) -> bool:
        """Whether something of a service that begins at a time belongs to the fault."""
        return self.service in ("*", service) and self.start_ns <= time_ns < self.end_ns


@dataclass
class Truth:
    """What one injection did, in the recording's own time and ids."""

    injection: Injection
    altered: Counter[Signal] = field(default_factory=Counter)
    dropped: Counter[Signal] = field(default_factory=Counter)
    added: Counter[Signal] = field(default_factory=Counter)
    trace_ids: set[bytes] = field(default_factory=set)

    def record(self, lap: Lap, number: int) -> dict[str, Any]:
        """One line of the truth file: what is true of a lap, in its ids and times."""
        kind, service, start_ns, end_ns, options = self.injection
        return {
            "kind": kind,
            "service": service,
            "lap": number,
            "start_unix_nano": lap.time_ns(start_ns),
            "end_unix_nano": lap.time_ns(end_ns),
            "options": dict(options),
            "altered": {str(signal): n for signal, n in self.altered.items()},
            "dropped": {str(signal): n for signal, n in self.dropped.items()},
            "added": {str(signal): n for signal, n in self.added.items()},
            "trace_ids": sorted(lap.trace_id(trace_id).hex() for trace_id in self.trace_ids),
        }


def parse(text: str, begin_ns: int) -> Injection:
    """An injection from its text; ``begin_ns`` is what a relative START counts from.

    Raises:
        ConfigurationError: with what was expected.
    """
    fault, *settings = text.split(",")
    kind, _, rest = fault.partition(":")
    service, _, window = rest.rpartition("@")
    start, _, duration = window.rpartition("+")
    if kind not in _OPTIONS:
        raise ConfigurationError(f"{text!r}: {kind!r} is none of {_choose(kind, _OPTIONS)}")
    if not service or not start or not duration:
        raise ConfigurationError(f"{text!r} is not KIND:SERVICE@START+DURATION")
    options = dict(_OPTIONS[kind])
    try:
        for setting in settings:
            name, _, value = setting.partition("=")
            options[name] = _value(kind, name, value)
        start_ns = begin_ns + round(parse_duration(start) * 1e9) if "T" not in start else _at(start)
        length_ns = round(parse_duration(duration) * 1e9)
    except ValueError as error:
        raise ConfigurationError(f"{text!r}: {error}") from error
    return Injection(kind, service, start_ns, start_ns + length_ns, options)


def _choose(wanted: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = get_close_matches(wanted, names, 1)
    return (", ".join(names) or "none") + (f" (did you mean {close[0]}?)" if close else "")


def _value(kind: str, name: str, value: str) -> bool | float:
    if name not in _OPTIONS[kind]:
        raise ValueError(f"{kind} has no option {name!r}, only {_choose(name, _OPTIONS[kind])}")
    if name == "ancestors":
        if value not in ("true", "false"):
            raise ValueError("ancestors is true or false")
        return value == "true"
    number = parse_duration(value) if name == "add" else float(value)
    if not 0 <= number < float("inf") or (name == "rate" and number > 1):
        raise ValueError(f"{name}={value} is out of range")
    if name == "factor" and number < 1:
        raise ValueError(f"factor={value} is less than 1")
    return number


def _at(moment: str) -> int:
    when = datetime.fromisoformat(moment)
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e9)


def inject(
    requests: Sequence[Request], injections: Sequence[Injection], rng: np.random.Generator
) -> tuple[list[Request], list[Truth]]:
    """The requests with faults in them, one after the other, and the truth of each.

    Requests that no fault touches keep their very bytes; those left empty are gone; those of
    ``load`` stand at the end.

    Raises:
        MalformedMessage: a request does not parse.
    """
    truths = []
    parsed = [messages.parse(request) for request in requests]
    for injection in injections:
        truth = Truth(injection)
        if injection.kind == "errors":
            _errors(parsed, injection, rng, truth)
        elif injection.kind == "latency":
            _latency(parsed, injection, rng, truth)
        elif injection.kind == "silence":
            _silence(parsed, injection, truth)
        else:
            parsed += map(messages.parse, _load(parsed, injection, rng, truth))
        truths.append(truth)
    return [request for one in parsed if (request := one.request()) is not None], truths


def _errors(
    parsed: Sequence[Parsed], injection: Injection, rng: np.random.Generator, truth: Truth
) -> None:
    spans = messages.spans_by_id(parsed)
    failed: set[tuple[bytes, bytes]] = set()
    for ref in messages.spans(parsed):
        span = ref.span
        if not injection.covers(ref.service, span.start_time_unix_nano):
            continue
        if rng.random() >= injection.options["rate"]:
            continue
        messages.fail(ref)
        failed.add((span.trace_id, span.span_id))
        parent: SpanRef | None = ref
        while injection.options["ancestors"] and parent is not None:
            parent = spans.get((span.trace_id, parent.span.parent_span_id))
            if parent is None or (span.trace_id, parent.span.span_id) in failed:
                break
            messages.set_error(parent)
            failed.add((span.trace_id, parent.span.span_id))
    truth.altered[Signal.TRACES] += len(failed)
    truth.trace_ids |= {trace_id for trace_id, _ in failed}


def _latency(
    parsed: Sequence[Parsed], injection: Injection, rng: np.random.Generator, truth: Truth
) -> None:
    spans = messages.spans_by_id(parsed)
    traces: dict[bytes, dict[bytes, Timed]] = {}
    hit = set()
    for (trace_id, span_id), ref in spans.items():
        start, end = ref.span.start_time_unix_nano, ref.span.end_time_unix_nano
        own = 0
        caller = spans.get((trace_id, ref.span.parent_span_id))
        entered = caller is None or caller.service != ref.service
        if (
            entered
            and injection.covers(ref.service, start)
            and rng.random() < injection.options["rate"]
        ):
            longer = (injection.options["factor"] - 1) * max(end - start, 0)
            own = round(longer + injection.options["add"] * 1e9)
            hit.add(trace_id)
        traces.setdefault(trace_id, {})[span_id] = Timed(ref.span.parent_span_id, start, end, own)
    logs = messages.logs_by_span(parsed)
    for trace_id in sorted(hit):
        for span_id, change in delay(traces[trace_id]).items():
            if not change.moved_ns and not change.longer_ns:
                continue
            truth.altered[Signal.TRACES] += 1
            truth.trace_ids.add(trace_id)
            for log in logs.get((trace_id, span_id), ()):
                truth.altered[Signal.LOGS] += messages.move_log(log, change)
            messages.move_span(spans[trace_id, span_id], change)


def _silence(parsed: Sequence[Parsed], injection: Injection, truth: Truth) -> None:
    for one in parsed:
        dropped, trace_ids = messages.drop(one, injection.covers)
        if dropped:
            truth.dropped[one.signal] += dropped
            truth.trace_ids |= trace_ids


def _load(
    parsed: Sequence[Parsed], injection: Injection, rng: np.random.Generator, truth: Truth
) -> list[Request]:
    begins: dict[bytes, int] = {}
    touched = set()
    for ref in messages.spans(parsed):
        trace_id, start = ref.span.trace_id, ref.span.start_time_unix_nano
        begins[trace_id] = min(begins.get(trace_id, start), start)
        if injection.service in ("*", ref.service):
            touched.add(trace_id)
    chosen = sorted(t for t in touched if injection.start_ns <= begins[t] < injection.end_ns)
    times = injection.options["factor"] - 1
    extra = []
    for number in range(int(np.ceil(times))):
        share = min(times - number, 1.0)
        again = {trace_id for trace_id in chosen if rng.random() < share}
        lap = fresh(rng, int(rng.integers(_JITTER_MAX_NS)))
        truth.trace_ids |= {lap.trace_id(trace_id) for trace_id in again}
        for one in parsed:
            items, data = messages.only(one, again)
            if items:
                truth.added[one.signal] += items
                extra.append(Request(one.signal, at_lap(data, find(one.signal, data), lap)))
    return extra
