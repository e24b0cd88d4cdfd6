"""What happens to alerts: from one state to another, when, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from schemas.records.alerts import AlertEvent, Exemplar, MovedWith, OfSeries, OfWindow

from .conditions import Evidence
from .labels import alert_labels, fingerprint, series_fields
from .rules import Rule, attribute_text
from .series import Series
from .templates import render

__all__ = ["Active", "Reason", "State", "Transition", "annotate", "transition"]

State = Literal["inactive", "pending", "firing", "no_data", "resolved"]
Reason = Literal[
    "condition", "no_data", "series_gone", "rule_removed", "rule_changed", "keep_firing_for"
]
"""The condition held or no longer holds; nothing was heard; nothing will be heard any more; the
rule is gone, or says something else now; data are back, without the condition."""

_ENDED = ("inactive", "resolved")
_SUMMARY = {
    "threshold": "{{ statistic }} of {{ service }} is {{ value }} ({{ threshold }})",
    "anomaly": "{{ statistic }} of {{ service }} is {{ value }}, expected {{ low }} to {{ high }}",
    "absence": "nothing comes of {{ service }} any more",
}


class Transition(NamedTuple):
    """An alert is in another state. Times are ends of windows, Unix milliseconds."""

    rule: Rule
    series_id: int
    """Its number; it may stand for another series later."""
    series: Series
    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: State
    reason: Reason
    id: str
    """The same for the same transition, whoever finds it, however often."""
    at_ms: int
    """When: end of the window that made it so."""
    starts_at_ms: int
    """End of the first window in which the condition held."""
    fired_at_ms: int | None
    """When it became firing; None: it never has."""
    ends_at_ms: int | None
    """When it was over; None: it is not."""
    value: float
    """Of the rule's statistic in the newest window that said something; NaN: not known."""
    low: float
    """Expected range, for anomalies; NaN: not known."""
    high: float
    score: float
    """0 to 1, for anomalies; NaN: not known."""
    detector: str
    """Who found it strangest; empty: nobody."""

    def event(
        self, moved_with: Sequence[MovedWith] = (), exemplars: Sequence[Exemplar] = ()
    ) -> AlertEvent:
        """The record of it."""
        config, series = self.rule.config, self.series
        attributes = {key: _shown(value) for key, value in series.attributes}
        threshold = config.threshold
        return AlertEvent(
            id=self.id,
            fingerprint=self.fingerprint,
            state=self.state,
            reason=self.reason,
            rule=self.rule.name,
            rule_version=self.rule.digest,
            labels=dict(self.labels),
            annotations=dict(self.annotations),
            at=_time(self.at_ms),
            starts_at=_time(self.starts_at_ms),
            fired_at=None if self.fired_at_ms is None else _time(self.fired_at_ms),
            ends_at=None if self.ends_at_ms is None else _time(self.ends_at_ms),
            series=OfSeries(
                tenant=series.tenant,
                service=series.service,
                metric=series.metric,
                attributes=attributes,
            ),
            window=OfWindow(
                rule=self.rule.window,
                length_ms=self.rule.length_ms,
                end=_time(self.at_ms),
                statistic=self.rule.statistic,
            ),
            value=_finite(self.value),
            threshold=None if threshold is None else f"{threshold.op} {threshold.value:g}",
            low=_finite(self.low),
            high=_finite(self.high),
            score=_finite(self.score),
            detector=self.detector,
            moved_with=tuple(moved_with),
            exemplars=tuple(exemplars),
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: str | bool | int | float) -> str | bool | int | float:
    if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
        return attribute_text(value)
    return value


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MAX = 253_402_300_799_999
"""The last moment of the year 9999."""


def _time(unix_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=max(0, min(unix_ms, _MS_MAX)))


@dataclass(slots=True)
class Active:
    """A series whose condition holds, held, or has held until just now."""

    series_id: int
    series: Series
    starts_at_ms: int
    known_at_ms: int
    """The newest window that said something."""
    evidence: Evidence
    state: State = "pending"
    fired_at_ms: int | None = None
    not_since_ms: int | None = None
    """Since when the condition does not hold."""
    lapses: int = 0
    """How often it was no_data."""
    labels: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    def name(self, rule: Rule) -> None:
        """Give it labels and fingerprint."""
        self.labels = alert_labels(rule, self.series)
        self.fingerprint = fingerprint(self.labels)

    def is_of(self, event: AlertEvent, rule: Rule) -> bool:
        """Whether it is what the event tells of; ``rule``: its own."""
        return rule.digest == event.rule_version and event.starts_at == _time(self.starts_at_ms)

    def take_over(self, event: AlertEvent) -> None:
        """Be in the state that was told."""
        self.state = event.state
        fired = event.fired_at
        self.fired_at_ms = None if fired is None else (fired - _EPOCH) // timedelta(milliseconds=1)
        self.lapses = int([*event.id.split("."), "0"][4])


def transition(
    rule: Rule,
    active: Active,
    state: State,
    at_ms: int,
    reason: Reason = "condition",
    detectors: tuple[str, ...] = (),
) -> Transition:
    """The alert is in ``state`` from now on; the record of that."""
    active.state = state
    value, low, high, score, detector = active.evidence
    name = detectors[detector] if 0 <= detector < len(detectors) else ""
    lapses = f".{active.lapses}" if active.lapses else ""
    return Transition(
        rule,
        active.series_id,
        active.series,
        active.fingerprint,
        active.labels,
        annotate(rule, active, name),
        state,
        reason,
        f"{active.fingerprint}.{rule.digest}.{active.starts_at_ms}.{state}{lapses}",
        at_ms,
        active.starts_at_ms,
        active.fired_at_ms,
        at_ms if state in _ENDED else None,
        value,
        low,
        high,
        score,
        name,
    )


def annotate(rule: Rule, active: Active, detector: str = "") -> dict[str, str]:
    """What is told of an alert, by the newest window that said something."""
    config = rule.config
    value, low, high, score, _ = active.evidence
    fields: dict[str, str | float] = {
        **series_fields(rule, active.series),
        "value": value,
        "low": low,
        "high": high,
        "score": score,
        "detector": detector,
        "threshold": "",
        "series": ", ".join(f"{k}={v}" for k, v in active.labels.items() if k not in _OF_RULE),
    }
    if config.threshold is not None:
        fields["threshold"] = f"{config.threshold.op} {config.threshold.value:g}"
    attributes = {key: str(text) for key, text in active.labels.items()}
    for key, _value in active.series.attributes:
        attributes[key] = active.labels.get(f"attribute.{key}", active.labels.get(key, ""))
    texts = {"summary": config.summary or _SUMMARY[config.condition]}
    if config.description:
        texts["description"] = config.description
    texts |= config.annotations
    return {name: render(text, fields, attributes)[:_TEXT_MAX] for name, text in texts.items()}


_OF_RULE = ("alertname", "severity")
_TEXT_MAX = 10_000
"""Characters of an annotation."""
