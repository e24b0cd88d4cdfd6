"""``alerts`` and ``alerts.state``: an alert is in another state. The key is the fingerprint.

The record is a CloudEvent in binary mode: its headers say type, time and id, its value is this
JSON. The same transition has the same ``id`` however often it is told. ``alerts`` has one after the
other, ``alerts.state`` is compacted to the latest of each alert.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ..batches import Headers
from .base import MalformedRecord, VersionedRecord
from .cloudevents import CloudEvent, from_headers, to_headers

__all__ = [
    "ALERT_SOURCE", "ALERT_TYPE", "AlertEvent", "AlertState", "Exemplar", "MovedWith", "OfSeries",
    "OfWindow",
]  # fmt: skip

ALERT_TYPE = "io.otlp-streams.alert."
"""Before the state, in ``ce_type``."""
ALERT_SOURCE = "otlp-streams/detect"
"""Who tells of alerts: ``ce_source``."""

AlertState = Literal["inactive", "pending", "firing", "no_data", "resolved"]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="ignore", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class OfSeries(_Part):
    """A series: what was aggregated."""

    tenant: str = ""
    """Tenant; empty: the default one."""
    service: str = ""
    """`service.name`; empty: not known."""
    metric: str = ""
    """Name of the metric that was aggregated; empty: spans or logs."""
    attributes: dict[str, str | bool | int | float] = {}
    """What tells it from other series of the service."""


class OfWindow(_Part):
    """The window that made it so."""

    rule: str
    """Name of the rule of `windows.rules`."""
    length_ms: int = Field(ge=1)
    """Its length."""
    end: AwareDatetime
    """Its end."""
    statistic: str
    """Which of its numbers."""


class MovedWith(_Part):
    """Another number of the same service that was strange at the same time."""

    window: str
    """Name of the rule of `windows.rules`."""
    length_ms: int = Field(ge=1)
    """Length of its windows."""
    metric: str = ""
    """Name of the metric; empty: spans or logs."""
    attributes: dict[str, str | bool | int | float] = {}
    """What tells it from other series of the service."""
    statistic: str
    """Which number."""
    value: float | None = None
    """Its value; null: not known."""
    low: float | None = None
    """Least value that was expected."""
    high: float | None = None
    """Greatest value that was expected."""
    score: float | None = Field(default=None, ge=0, le=1)
    """How strange it was."""


class Exemplar(_Part):
    """A trace to look at."""

    trace_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Trace id, hexadecimal."""
    span_id: str = Field(default="", pattern=r"^([0-9a-f]{16})?$")
    """Span id, hexadecimal; empty: not known."""
    value: float | None = None
    """Its value, such as its duration in seconds."""


class AlertEvent(VersionedRecord):
    """An alert is in another state."""

    schema_version: Literal[1] = 1
    """Of this format."""
    id: str = Field(min_length=1)
    """What the transition is recognised by (`ce_id`), should it be told twice."""
    fingerprint: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Of the labels, as in Alertmanager: key of the message."""
    state: AlertState
    """`pending`: the condition holds, but not for long enough; `inactive`: it no longer does, and
    nobody was told; `firing`; `no_data`: it was firing, and nothing is heard of it; `resolved`."""
    reason: str = "condition"
    """Why: `condition` (it holds or no longer does), `no_data`, `keep_firing_for` (data are back),
    `series_gone`, `rule_removed`, `rule_changed`, `pipeline`."""
    rule: str
    """Name of the rule, `alertname` of the labels."""
    rule_version: str
    """Digest of everything that the rule says."""
    labels: dict[str, str]
    """What tells the alert from others: alertname, severity, service, tenant, metric, attributes of
    the series, and labels of the rule."""
    annotations: dict[str, str] = Field(default={})
    """What is told: summary, description and more."""
    at: AwareDatetime
    """When it came to be in this state, by event time: end of a window (`ce_time`)."""
    starts_at: AwareDatetime
    """End of the first window in which the condition held."""
    fired_at: AwareDatetime | None = None
    """When it became firing; null: it never has."""
    ends_at: AwareDatetime | None = None
    """When it was over; null: it is not."""
    series: OfSeries | None = None
    """Of what; null: of the pipeline itself."""
    window: OfWindow | None = None
    """Of which window; null: of none."""
    value: float | None = None
    """Of the statistic, in the newest window that said something; null: not known."""
    threshold: str | None = None
    """What it was compared with, such as `> 0.05`; null: it was not."""
    low: float | None = None
    """Least value that was expected; null: not known."""
    high: float | None = None
    """Greatest value that was expected; null: not known."""
    score: float | None = Field(default=None, ge=0, le=1)
    """How strange the value is; null: nobody looked."""
    detector: str = ""
    """Who found it strangest; empty: nobody."""
    moved_with: tuple[MovedWith, ...] = ()
    """What else of the service was strange, strangest first."""
    exemplars: tuple[Exemplar, ...] = ()
    """Traces to look at."""

    @property
    def active(self) -> bool:
        """Whether somebody should still care: it fires, or fired when it was last heard of."""
        return self.state in ("firing", "no_data")

    def headers(self) -> Headers:
        """Headers of its Kafka record: a CloudEvent in binary mode."""
        subject = self.labels.get("service") or self.rule
        return to_headers(
            CloudEvent(self.id, ALERT_SOURCE, ALERT_TYPE + self.state, self.at, subject)
        )

    @classmethod
    def of(cls, headers: Headers, value: bytes) -> Self:
        """From a Kafka record.

        Raises:
            NewerVersion: a newer release wrote it.
            MalformedRecord: it is no such record, or its headers tell of something else.
        """
        event = from_headers(headers)
        if not event.type.startswith(ALERT_TYPE):
            raise MalformedRecord(f"no alert, but {event.type[:100]!r}")
        found = cls.decode(value)
        if (event.id, event.type) != (found.id, ALERT_TYPE + found.state):
            raise MalformedRecord("headers of one alert's event and value of another's")
        return found
