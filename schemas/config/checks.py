"""What no single section can know: settings that must fit together. Pure."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator
from itertools import combinations

from ..signals import Signal
from .alert_checks import check_rules
from .ingest import split_endpoint
from .problems import Problem
from .root import Config
from .units import format_duration, format_size

__all__ = ["cross_check"]

_RETENTION_OF_WAIT = 4


def cross_check(config: Config) -> list[Problem]:
    """Every contradiction in ``config``; empty when it can run."""
    return [
        *_messages_fit(config),
        *_listeners_differ(config),
        *_requests_fit(config),
        *_ingest_has_a_way_in(config),
        *_no_topic_feeds_itself(config),
        *_pauses_grow(config),
        *_backends_make_sense(config),
        *_replays_are_remembered(config),
        *(_sampling_has_time(config) if config.sampling.enabled else ()),
        *(_orders_fit(config) if config.sampling.enabled else ()),
        *(_windows_fit(config) if config.windows.enabled else ()),
        *(_alerts_fit(config) if config.alerts.enabled else ()),
    ]


def _problem(path: str, message: str) -> Problem:
    return Problem(tuple(path.split(".")), None, message)


def _messages_fit(config: Config) -> Iterator[Problem]:
    ours, theirs = config.kafka.producer.max_message, config.topics.max_message
    if ours > theirs:
        yield _problem(
            "kafka.producer.max_message",
            f"{ours} bytes is more than topics.max_message, {theirs} bytes: "
            "brokers would refuse the largest messages",
        )


def _requests_fit(config: Config) -> Iterator[Problem]:
    most, largest = config.ingest.inflight_max, config.ingest.max_request
    if most < largest:
        yield _problem(
            "ingest.inflight_max",
            f"{format_size(most)} is less than ingest.max_request, {format_size(largest)}: "
            "the largest requests could never be taken",
        )


def _ingest_has_a_way_in(config: Config) -> Iterator[Problem]:
    ingest = config.ingest
    if not (ingest.grpc.enabled or ingest.http.enabled or ingest.sources):
        yield _problem(
            "ingest",
            "neither ingest.grpc nor ingest.http is enabled, and there are no ingest.sources: "
            "nothing could come in",
        )


def _listeners(config: Config) -> Iterator[tuple[str, str]]:
    if config.ingest.grpc.enabled:
        yield "ingest.grpc.endpoint", config.ingest.grpc.endpoint
    if config.ingest.http.enabled:
        yield "ingest.http.endpoint", config.ingest.http.endpoint
    yield "telemetry.endpoint", config.telemetry.endpoint


def _listeners_differ(config: Config) -> Iterator[Problem]:
    for (one, a), (other, b) in combinations(_listeners(config), 2):
        (host_a, port_a), (host_b, port_b) = split_endpoint(a), split_endpoint(b)
        if port_a == port_b != 0 and (host_a == host_b or _is_any(host_a) or _is_any(host_b)):
            yield _problem(other, f"{b} is taken by {one}")


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _no_topic_feeds_itself(config: Config) -> Iterator[Problem]:
    ours = {name: key for key, name in config.topics.names.model_dump().items()}
    seen: dict[str, int] = {}
    for i, source in enumerate(config.ingest.sources):
        location = ("ingest", "sources", i, "topic")
        if source.topic in ours:
            where = f"topics.names.{ours[source.topic]}"
            yield Problem(location, None, f"{source.topic!r} is {where}: ingest would feed itself")
        if source.topic in seen:
            message = f"{source.topic!r} is ingest.sources[{seen[source.topic]}] already"
            yield Problem(location, None, message)
        seen.setdefault(source.topic, i)


def _pauses_grow(config: Config) -> Iterator[Problem]:
    runtime = config.runtime
    pairs = [
        ("runtime.retry", runtime.retry_initial, runtime.retry_maximum, "_initial", "_maximum"),
        ("runtime.restart", runtime.restart_initial, runtime.restart_maximum, "_initial",
         "_maximum"),
    ]  # fmt: skip
    pairs += [
        (f"export.backends.{name}.retry", b.retry.initial, b.retry.maximum, ".initial", ".maximum")
        for name, b in config.export.backends.items()
    ]
    pairs += [
        (f"notify.targets.{name}.retry", t.retry.initial, t.retry.maximum, ".initial", ".maximum")
        for name, t in config.notify.targets.items()
    ]
    for path, initial, maximum, first, last in pairs:
        if initial > maximum:
            yield _problem(
                path + first,
                f"{format_duration(initial)} is more than {path + last}, "
                f"{format_duration(maximum)}",
            )
    if runtime.drain_timeout >= runtime.stop_timeout:
        yield _problem(
            "runtime.drain_timeout",
            f"{format_duration(runtime.drain_timeout)} must be less than runtime.stop_timeout, "
            f"{format_duration(runtime.stop_timeout)}, of which it is a part",
        )


def _backends_make_sense(config: Config) -> Iterator[Problem]:
    for name, backend in config.export.backends.items():
        location = ("export", "backends", name)
        if not backend.signals:
            yield Problem((*location, "signals"), None, "no signal would go to this backend")
        if backend.tls.enabled and backend.endpoint.startswith("http://"):
            message = "says http:// (plain text) although tls.enabled is true"
            yield Problem((*location, "endpoint"), None, message)


def _replays_are_remembered(config: Config) -> Iterator[Problem]:
    topics = config.topics
    if topics.audit_retention < topics.deadletter_retention:
        yield _problem(
            "topics.audit_retention",
            f"{format_duration(topics.audit_retention)} is less than topics.deadletter_retention, "
            f"{format_duration(topics.deadletter_retention)}: that a dead letter was replayed "
            "would be forgotten before the dead letter",
        )


def _sampling_has_time(config: Config) -> Iterator[Problem]:
    """Spans are read twice: when they come, and when everything that came with them is decided."""
    topics, sampling = config.topics, config.sampling
    # From a message's arrival to the end of its order's work, one takeover by another process in
    # between; what is slower than that must not cost spans either, so several times as much.
    longest = math.ceil(
        sampling.decision_wait
        + sampling.decision_interval
        + sampling.order_interval
        + 2 * config.runtime.commit_interval
        + config.kafka.consumer.session_timeout
    )
    least = _RETENTION_OF_WAIT * longest
    if topics.retention < least:
        yield _problem(
            "topics.retention",
            f"{format_duration(topics.retention)} is less than {_RETENTION_OF_WAIT} times the "
            f"{format_duration(longest)} that sampling may need for a trace "
            "(sampling.decision_wait and more): spans would be gone before they are passed on",
        )
    if topics.decisions_retention < topics.retention:
        yield _problem(
            "topics.decisions_retention",
            f"{format_duration(topics.decisions_retention)} is less than topics.retention, "
            f"{format_duration(topics.retention)}: what was decided would be forgotten before "
            "the spans that it was decided about",
        )
    if sampling.decision_memory < sampling.decision_wait:
        yield _problem(
            "sampling.decision_memory",
            f"{format_duration(sampling.decision_memory)} is less than sampling.decision_wait, "
            f"{format_duration(sampling.decision_wait)}: one trace could be decided twice",
        )


def _orders_fit(config: Config) -> Iterator[Problem]:
    sampling, producer = config.sampling, config.kafka.producer
    if sampling.order_max > producer.max_message:
        yield _problem(
            "sampling.order_max",
            f"{format_size(sampling.order_max)} is more than kafka.producer.max_message, "
            f"{format_size(producer.max_message)}: the largest records could not be written",
        )
    if sampling.order_source_max > (most := config.runtime.lanes_max):
        yield _problem(
            "sampling.order_source_max",
            f"{format_size(sampling.order_source_max)} is more than runtime.lanes_max, "
            f"{format_size(most)}, which a stage may hold in memory",
        )


_READ_BY = {"spans": Signal.TRACES, "logs": Signal.LOGS, "metrics": Signal.METRICS}
"""What window rules are about, by the signal that must be read for them."""


def _windows_fit(config: Config) -> Iterator[Problem]:
    windows, topics, runtime = config.windows, config.topics, config.runtime
    if windows.record_max > config.kafka.producer.max_message:
        yield _problem(
            "windows.record_max",
            f"{format_size(windows.record_max)} is more than kafka.producer.max_message, "
            f"{format_size(config.kafka.producer.max_message)}: the largest records could not be "
            "written",
        )
    least = 3 * (runtime.idle_tick + runtime.commit_interval)
    if windows.source_timeout < least:
        yield _problem(
            "windows.source_timeout",
            f"{format_duration(windows.source_timeout)} is less than three times "
            "runtime.idle_tick and runtime.commit_interval: every source would seem to be silent",
        )
    read = {*config.shaped, *((Signal.TRACES,) if config.sampling.enabled else ())}
    for i, rule in enumerate(windows.rules):
        location = ("windows", "rules", i)
        longest, wait = max(rule.lengths), windows.allowed_lateness + windows.source_timeout
        for path, retention in (
            ("topics.retention", topics.retention),
            ("topics.windows_retention", topics.windows_retention),
        ):
            if longest + wait > retention:
                message = (
                    f"{format_duration(longest)} and the wait for what is late are more than "
                    f"{path}, {format_duration(retention)}: parts would be gone before the whole"
                )
                yield Problem((*location, "lengths"), None, message)
        if _READ_BY[rule.signal] not in read and "rules" in windows.model_fields_set:
            message = f"nothing reads {rule.signal} here: shape.signals leaves them out"
            yield Problem((*location, "signal"), None, message)


def _alerts_fit(config: Config) -> Iterator[Problem]:
    if not config.windows.enabled:
        yield _problem("alerts.enabled", "needs windows.enabled: true: rules are about windows")
        return
    yield from check_rules(config.alerts.rules, config.windows)
