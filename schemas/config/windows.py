"""Windows: what is aggregated over time, by what, and how long late items are waited for."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from .base import Settings
from .matching import Scalar
from .units import Duration, Size

__all__ = [
    "SEVERITIES", "SPAN_KINDS", "STATUS_CODES", "WindowRule", "Windows", "attribute_name",
]  # fmt: skip

SPAN_KINDS = (
    "SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER",
)  # fmt: skip
"""Values of span.kind, by the number in OTLP; as the Collector's spanmetrics connector has them."""
STATUS_CODES = ("STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR")
"""Values of status.code, by the number in OTLP."""
SEVERITIES = ("UNSPECIFIED", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Values of severity: the short names of the ranges of four SeverityNumbers (logs data model)."""

_FIELDS = {"spans": ("span.name", "span.kind", "status.code"), "logs": ("severity",), "metrics": ()}
_VALUES = {"span.kind": SPAN_KINDS, "status.code": STATUS_CODES, "severity": SEVERITIES}
_PREFIXES = ("resource.", "scope.")
_LENGTH_MAX_S = 86_400
_RULES_MAX = 64
_OUTPUTS = {"spans": "traces.span.metrics", "logs": "log.record.count", "metrics": "window.METRIC"}


def _length(value: float) -> float:
    if value != int(value):
        raise ValueError("a window is so many whole seconds long")
    return value


Length = Annotated[Duration, Field(ge=1, le=_LENGTH_MAX_S), AfterValidator(_length)]
"""Length of a window."""


def _key(key: str) -> str:
    if key in ("service", "service.name", "resource.service.name", "tenant"):
        raise ValueError(f"{key} is always part of the group; leave it away")
    if not key or key in _PREFIXES:
        raise ValueError("needs the key of an attribute")
    return key


Key = Annotated[str, Field(max_length=1000), AfterValidator(_key)]
"""What a group may consist of."""


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


OneOf = Annotated[tuple[Scalar, ...], BeforeValidator(_listed), Field(min_length=1, max_length=100)]
"""A value, or a list of which one must be it."""


class WindowRule(Settings):
    """What is measured, and by what it is told apart. Tenant and service always tell apart."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Its name in messages, metrics and alert rules."""
    signal: Literal["spans", "logs", "metrics"]
    """Spans: how many, how many with an error, how long they took. Logs: how many. Metrics: what
    their points say."""
    metric: str | None = Field(default=None, min_length=1, max_length=1000)
    """Name of the metrics, `*` for any characters in it; for metrics only, and needed there."""
    match: dict[str, OneOf] | None = Field(default=None, max_length=20)
    """Only items with these values: names as in `by`, and resource.service.name; of a list any."""
    by: tuple[Key, ...] = Field(default=(), max_length=20)
    """What tells groups apart: span.name, span.kind and status.code of spans, severity of logs,
    resource.KEY, scope.KEY, or any other key for an attribute of the item itself."""
    lengths: tuple[Length, ...] = Field(default=(10.0, 60.0), min_length=1, max_length=8)
    """How long its windows are; each a multiple of the shortest."""
    export: bool = True
    """Whether backends get it, too (`otlp_metrics.out`)."""
    export_length: Length | None = None
    """Which of the lengths they get; unset: the shortest."""
    statistics: tuple[Literal["average", "rate", "p50", "p90", "p99", "min", "max"], ...] = ()
    """Gauges that are made beside, such as NAME.p99, for who cannot read a distribution."""
    output: str | None = Field(default=None, min_length=1, max_length=255)
    """Name of what comes out: before .calls, .errors and .duration for spans. Unset:
    traces.span.metrics, log.record.count, or window. and the metric's name."""

    @field_validator("by", "lengths", "statistics")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        for i, value in enumerate(values):
            if value in values[:i]:
                raise ValueError(f"{value} stands there twice")
        return values

    @field_validator("lengths")
    @classmethod
    def _multiples(cls, lengths: tuple[float, ...]) -> tuple[float, ...]:
        for length in lengths:
            if length % min(lengths):
                raise ValueError(f"{length:g}s is no multiple of the shortest, {min(lengths):g}s")
        return tuple(sorted(lengths))

    @model_validator(mode="after")
    def _fits_its_signal(self) -> Self:
        if (self.metric is None) == (self.signal == "metrics"):
            what = "needs the name of one" if self.metric is None else f"is not for {self.signal}"
            raise ValueError(f"metric: {what}")
        for key in (*self.by, *(self.match or ())):
            self._known(key)
        names = [attribute_name(key) for key in self.by]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"by: two of them would come out as {name}")
        for key, values in (self.match or {}).items():
            for value in values if key in _VALUES else ():
                if value not in _VALUES[key]:
                    raise ValueError(f"match: {key} is one of {', '.join(_VALUES[key])}")
        if self.export_length is not None and self.export_length not in self.lengths:
            raise ValueError("export_length is none of the lengths")
        if self.output is not None and "*" in (self.metric or ""):
            raise ValueError("output: several metrics would come out under one name")
        return self

    def _known(self, key: str) -> None:
        fields = _FIELDS[self.signal]
        for signal, others in _FIELDS.items():
            if key in others and key not in fields:
                raise ValueError(f"{key} is of {signal}, not of {self.signal}")
        # An attribute can have any key; one that is nearly a field's name is a mistake.
        guess = difflib.get_close_matches(key.lower(), fields, n=1, cutoff=0.85)
        if guess and key not in fields:
            raise ValueError(f"{key!r}: did you mean {guess[0]}?")

    @property
    def lengths_ms(self) -> tuple[int, ...]:
        """Its lengths, shortest first."""
        return tuple(int(length * 1000) for length in self.lengths)

    @property
    def export_length_ms(self) -> int | None:
        """Which length backends get; None: none."""
        length = self.export_length or self.lengths[0]
        return int(length * 1000) if self.export else None

    @property
    def digest(self) -> str:
        """Of what it groups and measures: partials of rules with equal ones can be merged."""
        parts = self.model_dump(mode="json", include={"name", "signal", "metric", "match", "by"})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def attribute_name(key: str) -> str:
    """What an attribute of ``WindowRule.by`` is called in what comes out: without its place."""
    for prefix in _PREFIXES:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


DEFAULT_RULES = (
    WindowRule(name="spans", signal="spans", by=("span.name", "span.kind", "status.code")),
    # Not exported: whoever adds up traces.span.metrics.calls would count all spans twice.
    WindowRule(name="services", signal="spans", export=False),
    WindowRule(name="logs", signal="logs", by=("severity",)),
)


class Windows(Settings):
    """Tumbling windows over event time."""

    enabled: bool = False
    """Aggregate."""
    rules: tuple[WindowRule, ...] = Field(default=DEFAULT_RULES, max_length=_RULES_MAX)
    """What is aggregated."""
    allowed_lateness: Duration = Field(default=10.0, ge=0, le=86_400)
    """A window is emitted when all sources are so far beyond its end; what comes later is counted
    as late."""
    max_ahead: Duration = Field(default=60.0, ge=0, le=86_400)
    """An item whose time is so much later than its message's is not aggregated: its clock is
    wrong."""
    idle_after: Duration = Field(default=5.0, ge=1, le=3600)
    """A source partition without anything new for so long is not waited for."""
    source_timeout: Duration = Field(default=60.0, ge=3, le=86_400)
    """A source partition that says nothing, not even that it is idle, is waited for so long."""
    max_behind: Duration = Field(default=300.0, ge=1, le=10 * 365 * 86_400)
    """A source partition whose items are so much older than their messages is not waited for,
    unless all are: a client's clock is wrong, or it sends what is long past."""
    cardinality_limit: int = Field(default=10_000, ge=1, le=10_000_000)
    """Groups of a rule, per partition; all others of a tenant become one with
    otel.metric.overflow=true."""
    partials_max: int = Field(default=50_000, ge=100, le=10_000_000)
    """Groups and windows that a source partition gathers before it sends them on, at the latest
    when it commits."""
    buckets_max: int = Field(default=500, ge=1, le=1000)
    """Explicit buckets of a histogram; points with more are not aggregated."""
    record_max: Size = Field(default=500_000, ge=100_000, le=64 << 20)
    """Largest record of partials; what does not fit becomes several."""
    temporality: Literal["cumulative", "delta"] = "cumulative"
    """How backends get sums and histograms: since the group was first seen, or of each window."""
    streams_max: int = Field(default=100_000, ge=1, le=100_000_000)
    """Cumulative streams per partition whose last point is remembered; those not seen for longest
    are forgotten first."""
    stale_after: Duration = Field(default=300.0, ge=1, le=86_400)
    """A cumulative stream without a point for so long is forgotten: what it increased by in the
    gap is not known, unless the next point says that it started since."""
    forget_after: Duration = Field(default=3600.0, ge=60, le=30 * 86_400)
    """A group without anything for so long is forgotten. Comes it back, what backends get of it
    begins anew, with a later start time."""
    open_cells_max: int = Field(default=500_000, ge=100, le=100_000_000)
    """Groups and open windows that a partition holds, some 300 bytes each. When a source is far
    behind and there are more, the oldest windows are emitted before their time."""

    @field_validator("rules")
    @classmethod
    def _rules_fit(cls, rules: tuple[WindowRule, ...]) -> tuple[WindowRule, ...]:
        if not rules:
            raise ValueError("must not be empty; leave it away for the default")
        names = [rule.name for rule in rules]
        outputs: dict[tuple[str, str], str] = {}
        for i, rule in enumerate(rules):
            if rule.name in names[:i]:
                raise ValueError(f"two rules are called {rule.name}")
            if not rule.export or rule.match is not None:
                continue
            what = (rule.output or _OUTPUTS[rule.signal], rule.metric or "")
            if other := outputs.get(what):
                raise ValueError(
                    f"{other} and {rule.name} both export {what[0]}: what is added up there would "
                    "count twice; give one of them `export: false` or an `output` of its own"
                )
            outputs[what] = rule.name
        return rules

    @model_validator(mode="after")
    def _waits_fit(self) -> Self:
        if self.source_timeout < self.idle_after:
            raise ValueError("source_timeout is less than idle_after")
        return self

    @property
    def pane_ms(self) -> int:
        """Length of a pane: what all windows consist of."""
        return math.gcd(*(length for rule in self.rules for length in rule.lengths_ms))
