"""What comes out of a rule: names and units of its metrics, and what their points tell.

Names of spans are those of the Collector's spanmetrics connector; units are UCUM, as OpenTelemetry
wants it.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.config.windows import WindowRule

from .points import (
    CALLS,
    ERRORS,
    EXPONENTIAL,
    HISTOGRAM,
    LAST,
    STATISTIC,
    SUM,
    SUMMARY,
    UP_DOWN_SUM,
)

__all__ = ["KINDS", "OUTPUTS", "STATISTICS", "Output", "outputs"]

OUTPUTS = {"spans": "traces.span.metrics", "logs": "log.record.count"}
STATISTICS = ("average", "rate", "p50", "p90", "p99", "min", "max")
"""Gauges on request, in the order of their columns."""
_MAIN = {
    "gauge": EXPONENTIAL,
    "up_down_sum": EXPONENTIAL,
    "sum": SUM,
    "up_down_sum_delta": UP_DOWN_SUM,
    "histogram": HISTOGRAM,
    "exponential_histogram": EXPONENTIAL,
    "summary": SUMMARY,
}
KINDS = ("spans", "logs", *_MAIN)
_RATED = {"up_down_sum_delta": ("rate",), "sum": ("rate",)}
"""What can be said of a kind, where that is not everything."""


class Output(NamedTuple):
    """A metric of a group."""

    name: str
    unit: str
    what: int
    """Of ``points``."""
    statistic: int = 0
    """Place in STATISTICS."""


def outputs(rule: WindowRule, kind: str, metric: str, unit: str) -> list[Output]:
    """The metrics of a group of this kind, in their order."""
    if kind == "spans":
        name = rule.output or OUTPUTS["spans"]
        found = [
            Output(f"{name}.calls", "{span}", CALLS),
            Output(f"{name}.errors", "{span}", ERRORS),
            Output(f"{name}.duration", "s", EXPONENTIAL),
        ]
        return found + _gauges(rule, f"{name}.duration", "s", f"{name}.calls", "{span}")
    if kind == "logs":
        name = rule.output or OUTPUTS["logs"]
        main = Output(name, "{record}", CALLS)
        return [main, *_gauges(rule, name, "", name, "{record}", ("rate",))]
    name = rule.output or f"window.{metric}"
    found = [Output(name, unit, _MAIN[kind])]
    if kind in ("gauge", "up_down_sum"):
        found.append(Output(f"{name}.last", unit, LAST))
    if kind in ("gauge", "up_down_sum"):
        known = tuple(each for each in STATISTICS if each != "rate")
    elif kind == "summary":
        known = ("average", "rate")
    else:
        known = _RATED.get(kind, STATISTICS)
    rated = unit if kind.endswith("sum") or kind.endswith("delta") else "{value}"
    return found + _gauges(rule, name, unit, name, rated, known)


def _gauges(
    rule: WindowRule, name: str, unit: str, rated: str, rated_unit: str,
    known: tuple[str, ...] = STATISTICS,
) -> list[Output]:  # fmt: skip
    found = []
    for place, statistic in enumerate(STATISTICS):
        if statistic in rule.statistics and statistic in known:
            rate = statistic == "rate"
            what = f"{rated if rate else name}.{statistic}"
            found.append(Output(what, f"{rated_unit}/s" if rate else unit, STATISTIC, place))
    return found
