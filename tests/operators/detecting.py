"""The operator of detection, and what must be true of whatever it makes visible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from hypothesis import strategies as st

from schemas.batches import Batch, Headers, Record
from schemas.config.alerts import Alerts
from schemas.config.windows import Windows
from schemas.records.alerts import AlertEvent
from streams.alerts.detect import Detect
from streams.alerts.telling import RULES_TYPE
from tests.operators.battery import PARTITION, Adjust, Case
from tests.streams.windows.messages import Group, distribution, messages

__all__ = ["BUSY_TEXT", "DETECTING", "alerts", "detect"]

ALERTS, STATE = "alerts", "alerts.state"
LENGTH_MS = 10_000
FIRST_MS = 1_700_000_000_000

ERRORS = {
    "name": "Errors",
    "on": {"window": "spans", "length": "10s", "statistic": "error_ratio"},
    "threshold": {"op": ">", "value": 0.5},
    "for": "10s",
    "no_data_after": "10s",
}
MANY = {
    "name": "Many",
    "on": {"window": "spans", "length": "10s", "statistic": "count"},
    "threshold": {"op": ">=", "value": 3},
    "at_least": {"windows": 2, "of": 3},
}
SILENT = {
    "name": "Silent",
    "on": {"window": "services", "length": "10s", "statistic": "count"},
    "absence": {"history": 1},
}
STRANGE = {
    "name": "Strange",
    "on": {"window": "spans", "length": "10s", "statistic": "p99"},
    "anomaly": {"sensitivity": 100},
}
VECTORS = {
    "name": "Vectors",
    "on": {"window": "services", "length": "10s", "statistic": "strangeness"},
    "anomaly": {"sensitivity": 100},
}
BUSY_TEXT = (
    "- {name: Busy, on: {window: spans, length: 10s, statistic: count},"
    " threshold: {op: '>=', value: 3}}"
)
_TEXTS = (
    "- {name: Many, on: {window: spans, length: 10s, statistic: count},"
    " threshold: {op: '>=', value: 2}}",
    "- {name: Logs, on: {window: logs, length: 10s, statistic: rate},"
    " threshold: {op: '>', value: 0}}",
    "- {name: Wrong}",
    "",
    None,
)


def alerts(*rules: dict[str, Any], **more: Any) -> Alerts:
    """Settings with these rules alone."""
    return Alerts.model_validate({"builtin": False, "rules": rules, **more})


def detect(settings: Alerts, **more: Any) -> Detect:
    """The operator of the battery's partition."""
    given = {"alerts_topic": ALERTS, "state_topic": STATE, "partition": PARTITION, **more}
    return Detect(settings, Windows(), **given)


def _of(rule: str, service: str, name: str, durations: Sequence[float], errors: int) -> Group:
    if rule == "logs":
        severity = (("severity", name.upper()),)
        return Group("logs", service, attributes=severity, count=len(durations))
    attributes = (("span.name", name),) if rule == "spans" else ()
    group = Group("spans", service, attributes=attributes, errors=min(errors, len(durations)))
    return distribution(group, durations)


_ALL: dict[bytes, Headers] = {
    # Poison: no telemetry, no header of ours, no text.
    b"\xff": (("window", b"spans/10000/1700000050000"),),
    b"\n": (("window", b"spans/10000"),),
    b"": (("window", b"spans/x/1700000050000"),),
    b"\x08\x01": (("window", b"services/10000/1700000010000"), ("window.closed", b"1")),
    # Nothing of ours.
    b"\x12\x00": (),
}
_POISON = (b"\xff", b"\n", b"", b"\x08\x01")


class _Ends:
    """Where each rule's windows are in a history."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}


@st.composite
def _messages(draw: st.DrawFn) -> bytes:
    """A message of a window, or its closing one; mostly as windows has them, in order."""
    ends = draw(st.shared(st.builds(_Ends), key="ends"))
    rule = draw(st.sampled_from(["spans", "spans", "spans", "services", "logs"]))
    number = ends.open.get(rule, 1) + draw(st.sampled_from([0] * 12 + [-1, 1, 7]))
    end_ms = FIRST_MS + LENGTH_MS * number
    if draw(st.booleans()):
        silent = draw(st.sampled_from([0] * 9 + [2]))
        record = messages(rule, LENGTH_MS, end_ms, silent_sources=silent)[-1]
        ends.open[rule] = number + 1
    else:
        service, name = draw(st.sampled_from(["cart", "shop"])), draw(st.sampled_from("ab"))
        durations = draw(st.sampled_from([[0.01], [0.0] * 8, [0.5, 0.01, 0.2]]))
        groups = [_of(rule, service, name, durations, draw(st.sampled_from([0, 5])))]
        record = messages(rule, LENGTH_MS, end_ms, groups)[0]
    _ALL[record.value] = record.headers
    return record.value


def _as_said(_batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    """Each transition once; a state follows on another; `alerts` has what concerns people."""
    told = [AlertEvent.of(r.headers, r.value) for r in visible if r.topic == ALERTS]
    assert all(event.state not in ("pending", "inactive") for event in told)
    events = []
    for record in visible:
        assert record.key is not None
        if record.topic == STATE:
            assert record.partition == PARTITION
            if (("ce_type", RULES_TYPE.encode())) not in record.headers:
                events.append(AlertEvent.of(record.headers, record.value))
    assert [e.id for e in told] == [
        e.id for e in events if e.state not in ("pending", "inactive")
    ]  # fmt: skip
    ids = [event.id for event in events]
    assert len(ids) == len(set(ids)), "told twice"
    before: dict[str, str] = {}
    for event in events:
        was = before.get(event.fingerprint, "inactive")
        assert (was, event.state) in {
            *(("inactive", new) for new in ("pending", "firing")),
            *(("pending", new) for new in ("firing", "inactive")),
            *(("firing", new) for new in ("resolved", "no_data")),
            *(("no_data", new) for new in ("firing", "resolved")),
            *(("resolved", new) for new in ("pending", "firing")),
        }, f"{event.rule}: {was}, then {event.state}"
        before[event.fingerprint] = event.state


def _cases() -> Iterator[Case]:
    settings = alerts(ERRORS, MANY, SILENT, STRANGE, VECTORS, stalled_after=5)
    case = partial(
        Case,
        values=_messages() | st.just(b"\x12\x00"),
        poison=st.sampled_from(_POISON),
        headers=lambda value: _ALL.get(value, ()),
        holds=_as_said,
        steps_max=40,
        examples=80,
    )
    yield case("detect", partial(detect, settings))
    yield case(
        "detect under other rules",
        partial(detect, settings),
        adjustments=st.builds(Adjust, st.just("alerts.rules"), st.sampled_from(_TEXTS)),
    )
    yield case(
        "detect with room for few",
        partial(detect, alerts(MANY, SILENT, STRANGE, series_max=2, series_memory=60)),
        size=lambda operator: operator.series,
        size_max=2,
    )


DETECTING = list(_cases())
