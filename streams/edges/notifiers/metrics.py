"""What notifiers count."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["NotifierMetrics", "TargetMetrics"]

_LATENCY_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_OUTCOMES = ("told", "collapsed", "unmatched", "silenced", "unsaid", "refused", "exhausted",
             "overflow", "malformed")  # fmt: skip
_ANSWERS = ("ok", "unavailable", "refused")


class TargetMetrics:
    """One target's view of :class:`NotifierMetrics`, its children looked up once."""

    def __init__(self, every: NotifierMetrics, target: str) -> None:
        self.transitions = {o: every.transitions.labels(target, o) for o in _OUTCOMES}
        self.notifications = {a: every.notifications.labels(target, a) for a in _ANSWERS}
        self.repeats = every.repeats.labels(target)
        self.muted = every.muted.labels(target)
        self.latency = every.latency.labels(target)
        self.pending = every.pending.labels(target)
        self.alerts = every.alerts.labels(target)
        self.silences = every.silences.labels(target)
        self.up = every.up.labels(target)
        self.up.set(1)


class NotifierMetrics:
    """Prometheus metrics of all notifiers of a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.transitions = Counter(
            "otlp_streams_notify_transitions",
            "Transitions of alerts by what became of them: told; collapsed (there was newer news "
            "before it could be told); unmatched (not for this target); silenced; unsaid (over "
            "before anybody was to be told); refused, exhausted, overflow (notify.targets.<name>"
            ".max_alerts) and malformed, which are dead letters.",
            ("target", "outcome"),
            registry=registry,
        )
        self.notifications = Counter(
            "otlp_streams_notify_notifications",
            "Tries to tell the target: ok, unavailable (it is tried again) or refused (of alerts "
            "that could be told apart, some).",
            ("target", "outcome"),
            registry=registry,
        )
        self.repeats = Counter(
            "otlp_streams_notify_repeats",
            "Notifications without news: it still fires.",
            ("target",),
            registry=registry,
        )
        self.muted = Counter(
            "otlp_streams_notify_muted",
            "Alerts that were left out of what was due, because they are silenced.",
            ("target",),
            registry=registry,
        )
        self.latency = Histogram(
            "otlp_streams_notify_request_seconds",
            "From a try to its answer.",
            ("target",),
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.pending = Gauge(
            "otlp_streams_notify_pending_transitions",
            "Transitions in memory that the target does not know of yet.",
            ("target",),
            registry=registry,
        )
        self.alerts = Gauge(
            "otlp_streams_notify_alerts",
            "Alerts that are kept for the target, firing ones above all.",
            ("target",),
            registry=registry,
        )
        self.silences = Gauge(
            "otlp_streams_notify_active_silences",
            "Silences in force.",
            ("target",),
            registry=registry,
        )
        self.up = Gauge(
            "otlp_streams_notify_target_up",
            "0 while the target does not answer, else 1.",
            ("target",),
            registry=registry,
        )

    def of(self, target: str) -> TargetMetrics:
        """The view of one target."""
        return TargetMetrics(self, target)
