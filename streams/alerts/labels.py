"""What an alert is called: its labels, and the fingerprint that they have."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.config.alerts import RESERVED_LABELS
from schemas.config.units import format_duration

from .rules import Rule, attribute_text
from .series import Series
from .templates import render

__all__ = ["alert_labels", "fingerprint", "series_fields"]

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_U64 = 0xFFFFFFFFFFFFFFFF
_SEPARATOR = b"\xff"
_TAKEN = (*RESERVED_LABELS, "service", "tenant", "metric")


def alert_labels(rule: Rule, series: Series) -> dict[str, str]:
    """Labels of the alert that a rule raises for a series, in order of their names.

    ``alertname``, ``severity``, ``service``, ``tenant`` and ``metric`` (those of them that there
    are), every attribute of the series under its own key, and what the rule adds. An attribute
    that is called like one of the five is ``attribute.KEY``.
    """
    attributes = {key: attribute_text(value) for key, value in series.attributes}
    labels = {f"attribute.{key}" if key in _TAKEN else key: v for key, v in attributes.items()}
    fields = series_fields(rule, series)
    for name, text in rule.config.labels.items():
        labels.setdefault(name, render(text, fields, attributes))
    labels |= {name: str(fields[name]) for name in ("service", "tenant", "metric", "severity")}
    labels["alertname"] = rule.name
    # An empty label is none, as in Prometheus.
    return {name: text for name, text in sorted(labels.items()) if text}


def series_fields(rule: Rule, series: Series) -> dict[str, str | float]:
    """Fields of templates that do not change while an alert lasts."""
    return {
        "rule": rule.name,
        "severity": rule.config.severity,
        "service": series.service,
        "tenant": series.tenant,
        "metric": series.metric,
        "window": rule.window,
        "length": format_duration(rule.length_ms / 1000),
        "statistic": rule.statistic,
    }


def fingerprint(labels: Mapping[str, str]) -> str:
    """16 hexadecimal digits that tell one set of labels from others.

    As in Alertmanager (``LabelSet.Fingerprint`` of prometheus/common): FNV-1a, 64 bits, over
    every name and value in order of the names' bytes, each followed by a byte 255.
    """
    sum_ = _FNV_OFFSET
    for name, value in sorted((n.encode(), v.encode()) for n, v in labels.items()):
        for byte in name + _SEPARATOR + value + _SEPARATOR:
            sum_ = ((sum_ ^ byte) * _FNV_PRIME) & _U64
    return f"{sum_:016x}"
