"""What happens to alerts: from one state to another, when, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .conditions import Evidence
from .labels import alert_labels, fingerprint, series_fields
from .rules import Rule
from .series import Series
from .templates import render

__all__ = ["Active", "Reason", "State", "Transition", "transition"]

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
        _annotations(rule, active, name),
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


def _annotations(rule: Rule, active: Active, detector: str) -> dict[str, str]:
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
        "series": " ".join(f"{k}={v}" for k, v in active.labels.items() if k not in _OF_RULE),
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
    return {name: render(text, fields, attributes) for name, text in texts.items()}


_OF_RULE = ("alertname", "severity")
