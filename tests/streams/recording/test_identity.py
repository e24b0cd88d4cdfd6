"""Identities survive splitting and merging, and tell items apart."""

from collections import Counter

from hypothesis import given, settings

from schemas.signals import Signal
from streams.recording.identity import identities

from .requests import REQUESTS, TYPES


def alone(signal, message):
    """Each item as a request of its own, with its envelope."""
    resources, scopes, items = {
        Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
        Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
        Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    }[signal]
    for resource in getattr(message, resources):
        for scope in getattr(resource, scopes):
            for item in getattr(scope, items):
                if signal is Signal.METRICS:
                    kind = item.WhichOneof("data")
                    parts = []
                    for point in getattr(item, kind).data_points:
                        metric = type(item).FromString(item.SerializeToString())
                        del getattr(metric, kind).data_points[:]
                        getattr(metric, kind).data_points.append(point)
                        parts.append(metric)
                else:
                    parts = [item]
                for part in parts:
                    one = TYPES[signal]()
                    envelope = getattr(one, resources).add()
                    envelope.resource.CopyFrom(resource.resource)
                    inner = getattr(envelope, scopes).add()
                    inner.scope.CopyFrom(scope.scope)
                    getattr(inner, items).append(part)
                    yield one.SerializeToString()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(REQUESTS)
def test_split_and_merged(request_):
    signal, message = request_
    whole = identities(signal, message.SerializeToString())
    parts = list(alone(signal, message))
    assert [identities(signal, part) for part in parts] == [[one] for one in whole]
    # Messages concatenated are messages merged (Protocol Buffers, "Last One Wins").
    assert Counter(identities(signal, b"".join(reversed(parts)))) == Counter(whole)


def test_the_same_value_of_two_series_is_two_points():
    message = TYPES[Signal.METRICS]()
    for service in ("a", "b"):
        resource = message.resource_metrics.add()
        resource.resource.attributes.add(key="service.name").value.string_value = service
        scope = resource.scope_metrics.add()
        for name in ("read", "write"):
            for kind in ("gauge", "sum"):
                metric = scope.metrics.add(name=name)
                getattr(metric, kind).data_points.add(time_unix_nano=1, as_int=0)
    assert len(set(identities(Signal.METRICS, message.SerializeToString()))) == 8


def test_a_span_is_its_ids():
    message = TYPES[Signal.TRACES]()
    spans = message.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, name="get", parent_span_id=b"\3" * 8)
    assert identities(Signal.TRACES, message.SerializeToString()) == [b"\1" * 16 + b"\2" * 8]
