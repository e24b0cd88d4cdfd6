"""Alerts: rules over windows, and when what they find becomes an alert."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .base import Settings
from .matching import TextMatch
from .templates import LabelTemplate, Template
from .units import Duration, parse_duration

__all__ = [
    "PIPELINE_STALLED", "RESERVED_LABELS", "Absence", "AlertRule", "Alerts", "AnomalyCondition",
    "AtLeast", "BuiltinRule", "SeriesMatch", "Statistic", "Threshold", "WindowStatistic",
]  # fmt: skip

PIPELINE_STALLED = "PipelineStalled"
"""The built-in alert that follows from no rule: windows are no longer closed."""
RESERVED_LABELS = ("alertname", "severity")
"""Labels that every alert has from its rule."""
_RULES_MAX = 1000
_CONDITIONS = ("threshold", "anomaly", "absence")

BuiltinRule = Literal[
    "ErrorRatioHigh", "ErrorRatioUp", "ErrorRatioHighSlow", "LatencyP99Up", "LatencyP90Up",
    "LatencyAverageUpSlow", "RateUnusual", "RateUnusualSlow", "ServiceSilent", "ErrorLogsUp",
    "FatalLogs", "PipelineStalled",
]  # fmt: skip
"""Rules that are there without being written; what they say is in streams/alerts/builtin.py."""

Statistic = Literal[
    "count", "errors", "sum", "min", "max", "p50", "p90", "p99", "last", "rate", "average",
    "error_ratio", "strangeness",
]  # fmt: skip
"""What a window says of a series: counts of items, values (seconds for spans), a second, shares;
strangeness is how unusual rate, error_ratio, p50, p90 and p99 are together, 0 to 1."""


def _quantity(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.endswith("%"):
        return float(value[:-1]) / 100
    try:
        return float(value)
    except ValueError:
        return parse_duration(value)


Quantity = Annotated[float, BeforeValidator(_quantity), Field(allow_inf_nan=False)]
"""A number; ``500ms`` is 0.5 and ``5%`` is 0.05."""


class WindowStatistic(Settings):
    """Which number of which windows."""

    window: str = Field(min_length=1, max_length=100)
    """Name of a rule of `windows.rules`."""
    length: Duration = Field(gt=0)
    """Which of its lengths."""
    metric: str | None = Field(default=None, min_length=1, max_length=1000)
    """Of windows over several metrics: name of those that count, `*` for any characters in it; it
    is the name that comes out of windows, without `window.` before it."""
    statistic: Statistic
    """Which number. `rate` is per second, `error_ratio` errors by count, `average` sum by count;
    of spans, sum to p99 are seconds. Of metrics that are sums, `sum` is what was added."""


class SeriesMatch(Settings):
    """Conditions on a series, all of which must hold."""

    tenant: TextMatch | None = None
    """Its tenant."""
    service: TextMatch | None = None
    """`service.name`."""
    metric: TextMatch | None = None
    """Name of the metric that was aggregated; spans and logs have none."""
    attributes: dict[str, TextMatch] = Field(default={}, max_length=32)
    """Attributes of the window's groups, by key, as text; a series without it does not match."""
    not_: SeriesMatch | None = Field(default=None, alias="not")
    """Not a series like this."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any((self.tenant, self.service, self.metric, self.attributes, self.not_)):
            raise ValueError("has no condition; leave `match` away to take every series")
        return self


class Threshold(Settings):
    """The value is compared with a number."""

    op: Literal[">", ">=", "<", "<=", "==", "!="]
    """How."""
    value: Quantity
    """With what: a number, a duration such as 500ms (in seconds), or a share such as 5%."""


class AnomalyCondition(Settings):
    """The value is not what the history of its series lets expect."""

    sensitivity: float = Field(gt=0, le=100, allow_inf_nan=False)
    """False alarms per series and day that may be expected, of a condition in one window: `for`
    and `at_least` make them fewer. A series with too little history for it says nothing."""
    direction: Literal["up", "down", "both"] = "both"
    """Whether it must be above or below what was expected."""
    min_change: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How far it must be outside of the expected range, as a share of its nearer end: what is
    unusual need not matter."""
    min_difference: Quantity = Field(default=0.0, ge=0)
    """How far it must be outside of the expected range, in its own unit."""


class Absence(Settings):
    """Nothing comes of a series that was there."""

    sensitivity: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    """False alarms per series and day, from how many of its windows were empty so far, and how
    many in a row: a series that comes now and then is waited for longer. Unset: the first empty
    window counts."""
    history: int = Field(default=30, ge=1, le=100_000)
    """Windows that a series must have been known for before its absence means anything."""


class AtLeast(Settings):
    """The condition held in m of the last n windows."""

    windows: int = Field(ge=1, le=64)
    """m."""
    of: int = Field(ge=1, le=64)
    """n."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.windows > self.of:
            raise ValueError("`windows` is more than `of`: there are never so many")
        return self


class AlertRule(Settings):
    """One rule; every series of its windows that it matches can become an alert of its own."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_:-]*$")
    """Its name: label `alertname`. One that a built-in rule has, takes its place."""
    on: WindowStatistic
    """What it looks at."""
    match: SeriesMatch | None = None
    """Which series; unset: all."""
    threshold: Threshold | None = None
    """Compare with a number."""
    anomaly: AnomalyCondition | None = None
    """Compare with its own history."""
    absence: Absence | None = None
    """Nothing comes any more."""
    min_count: int = Field(default=0, ge=0)
    """A window with fewer items says nothing: of three requests one is 33 % and no ratio."""
    for_: Duration = Field(default=0.0, ge=0, le=86_400 * 7, alias="for")
    """The condition must have held for so long; until then the alert is pending."""
    keep_firing_for: Duration = Field(default=0.0, ge=0, le=86_400 * 7)
    """It is resolved when the condition has not held for so long."""
    at_least: AtLeast | None = None
    """The condition must have held in m of the last n windows, not in the last one."""
    no_data: Literal["keep", "resolve", "fire"] = "keep"
    """What a window means that says nothing: nothing, that the condition does not hold, or that
    it does. What is still learned or not known never makes an alert fire."""
    no_data_after: Duration = Field(default=300.0, gt=0, le=86_400 * 7)
    """With `keep`: an alert that nothing was heard of for so long is `no_data`; a pending one is
    taken back."""
    severity: Literal["info", "warning", "error", "critical"] = "warning"
    """Label `severity`, as in PagerDuty's Events API."""
    labels: dict[str, LabelTemplate] = Field(default={}, max_length=32)
    """More labels; templates with fields of the series. They tell alerts apart."""
    summary: Template = ""
    """What is wrong, in a line; template. Unset: what the rule says."""
    description: Template = ""
    """What is wrong, and what to do; template."""
    annotations: dict[str, Template] = Field(default={}, max_length=32)
    """More to be told, such as runbook_url; templates."""

    @field_validator("labels")
    @classmethod
    def _no_reserved(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if name in RESERVED_LABELS:
                raise ValueError(f"{name} comes from the rule itself")
        return labels

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        given = [name for name in _CONDITIONS if getattr(self, name) is not None]
        if len(given) != 1:
            what = " and ".join(given) if given else "not when"
            raise ValueError(f"says {what}, but needs exactly one of {', '.join(_CONDITIONS)}")
        if self.absence and self.min_count:
            raise ValueError("min_count means nothing for absence: nothing has no items")
        if self.absence and self.on.statistic != "count":
            raise ValueError("absence is of items: on.statistic must be count")
        if self.on.statistic == "strangeness" and not self.anomaly:
            raise ValueError("strangeness is only for `anomaly`: what it means is in its history")
        return self

    @property
    def condition(self) -> str:
        """Which of the conditions it has."""
        return next(name for name in _CONDITIONS if getattr(self, name) is not None)

    @property
    def digest(self) -> str:
        """Of everything it says: a rule with another one is another version."""
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


class Alerts(Settings):
    """Alerts from windows."""

    enabled: bool = False
    """Detect anomalies and evaluate rules; needs `windows.enabled`."""
    builtin: bool = True
    """Whether the built-in rules run; `otlp-streams alerts rules builtin` prints them."""
    without: tuple[BuiltinRule, ...] = ()
    """Built-in rules that do not."""
    rules: tuple[AlertRule, ...] = Field(default=(), max_length=_RULES_MAX)
    """Rules beside them."""
    series_max: int = Field(default=100_000, ge=1, le=10_000_000)
    """Series that a partition of `windows` is watched for: one a group, rule and length that some
    alert rule looks at. More are not watched, and counted."""
    series_memory: Duration = Field(default=86_400.0, ge=60, le=86_400 * 90)
    """A series without items for so long is forgotten, with its history and its alerts."""
    stalled_after: Duration = Field(default=60.0, ge=5, le=86_400)
    """`PipelineStalled` fires when no window of some window rule has been closed on a partition
    for so long, beside the length of its shortest window."""
    moved_with_max: int = Field(default=10, ge=0, le=100)
    """Other statistics and groups of its service that an alert lists because they were unusual,
    too."""
    moved_with_windows: int = Field(default=3, ge=1, le=100)
    """In which of their last windows."""
    active_max: int = Field(default=1000, ge=1, le=1_000_000)
    """Pending and firing alerts of one rule; of more, the rest is counted and not raised."""
    publish_pending: bool = False
    """Whether `alerts` tells of pending alerts, too; `alerts.state` always does."""

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, rules: tuple[AlertRule, ...]) -> tuple[AlertRule, ...]:
        names = [rule.name for rule in rules]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"two rules are called {name}")
        return rules
