"""Which traces a match is about: compiled and vectorised, against the protobuf library."""

from __future__ import annotations

from typing import Any

import numpy as np
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.config import Match, Sampling
from schemas.config.matching import span_conditions
from schemas.config.sampling import Policy
from streams import wire
from streams.sampling.conditions import compile_match
from streams.sampling.facts import Facts
from streams.sampling.interning import Interned
from streams.sampling.span_conditions import SpanConditions
from streams.sampling.verdict_cache import VerdictCache

from .some_traces import some_traces

TEXTS = st.sampled_from(["", "cart", "GET /health", "GET /cart", "ünïcode", "200"])
PATTERNS = st.sampled_from(["^GET", "/health$", "c.rt", "", "[ü]", "^$"])
VALUES = TEXTS | st.booleans() | st.sampled_from([0, 1, 200, 404, -5]) | st.sampled_from([1.0, 2.5])
KEYS = st.sampled_from(["a", "b", "http.route", "service.name"])

# --- requests ------------------------------------------------------------------------------


def put(owner: Any, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        content = owner.attributes.add(key=key).value
        if isinstance(value, bool):
            content.bool_value = value
        elif isinstance(value, int):
            content.int_value = value
        elif isinstance(value, float):
            content.double_value = value
        else:
            content.string_value = value


ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> ExportTraceServiceRequest:
    """Spans of one trace."""
    message = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        group = message.resource_spans.add()
        put(group.resource, draw(ATTRIBUTES))
        scope = group.scope_spans.add()
        put(scope.scope, draw(ATTRIBUTES))
        for _ in range(draw(st.integers(0, 3))):
            span = scope.spans.add(
                trace_id=b"t" * 16,
                span_id=b"s" * 8,
                parent_span_id=draw(st.sampled_from([b"", b"p" * 8])),
                name=draw(TEXTS),
                status={"code": draw(st.sampled_from([0, 1, 2]))},
            )
            put(span, draw(ATTRIBUTES))
    return message


# --- matches -------------------------------------------------------------------------------


def _one_of(**ways: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of([st.fixed_dictionaries({name: way}) for name, way in ways.items()])


TEXT = TEXTS | _one_of(equals=TEXTS, one_of=st.lists(TEXTS, min_size=1, max_size=6), regex=PATTERNS)


@st.composite
def attribute_matches(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.sampled_from([-10, 0, 1.5]))
    ways = _one_of(
        equals=VALUES,
        one_of=st.lists(VALUES, min_size=1, max_size=3),
        regex=PATTERNS,
        exists=st.just(True),
        min=st.just(low),
        max=st.just(300),
    ) | st.just({"min": low, "max": 200})
    where = draw(st.sampled_from(["span", "resource", "scope"]))
    return {"where": where, "key": draw(KEYS), **draw(ways)}


SPAN_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "root": st.just(True),
        "service": TEXT,
        "operation": TEXT,
        "status": st.lists(st.sampled_from(["unset", "ok", "error"]), min_size=1, max_size=2),
        "attribute": attribute_matches() | st.lists(attribute_matches(), min_size=1, max_size=2),
    },
)
OTHER_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "latency": st.sampled_from([{"min": 0.02}, {"max": 0.05}, {"min": 0.0, "max": 0.02}]),
        "span_count": st.sampled_from([{"min": 2}, {"max": 1}]),
    },
)


def _joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    composed = st.fixed_dictionaries(
        {},
        optional={
            "and": st.lists(inner, min_size=1, max_size=2),
            "or": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    )
    return st.tuples(SPAN_PARTS, OTHER_PARTS, composed).map(
        lambda parts: parts[0] | parts[1] | parts[2]
    )


PLAIN = st.tuples(SPAN_PARTS, OTHER_PARTS).map(lambda parts: parts[0] | parts[1]).filter(bool)
MATCHES = st.recursive(PLAIN, lambda inner: _joined(inner).filter(bool), max_leaves=3)


# --- the plain reading ---------------------------------------------------------------------


def text_holds(match: Any, text: Any) -> bool:
    if not isinstance(text, str):
        return False
    if match.regex is not None:
        return re2.search(match.regex, text) is not None
    return text in ((match.equals,) if match.equals is not None else match.one_of)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(value: Any, wanted: Any) -> bool:
    if number(value) and number(wanted):
        return float(value) == float(wanted)
    return type(value) is type(wanted) and value == wanted


def attribute_holds(match: Any, span: dict[str, Any]) -> bool:
    found = span[match.where]
    if match.key not in found:
        return False
    value = found[match.key]
    if match.exists:
        return True
    if match.regex is not None:
        return text_holds(match, value)
    if match.min is not None or match.max is not None:
        low, high = match.min, match.max
        return number(value) and (low is None or value >= low) and (high is None or value <= high)
    wanted = (match.equals,) if match.equals is not None else match.one_of
    return any(same(value, each) for each in wanted)


def span_holds(match: Match, span: dict[str, Any]) -> bool:
    service = span["resource"].get("service.name")
    return (
        (match.root is None or span["root"])
        and (match.service is None or text_holds(match.service, service))
        and (match.operation is None or text_holds(match.operation, span["name"]))
        and (match.status is None or span["status"] in match.status)
        and all(attribute_holds(each, span) for each in match.attribute or ())
    )  # fmt: skip


def holds(match: Match, spans: list[dict[str, Any]], took_s: float) -> bool:
    checks = [any(span_holds(match, span) for span in spans)] if match.of_span else []
    if match.latency is not None:
        low, high = match.latency.min or 0.0, match.latency.max
        checks.append(took_s >= low and (high is None or took_s <= high))
    if match.span_count is not None:
        low_n, high_n = match.span_count.min or 0, match.span_count.max
        checks.append(len(spans) >= low_n and (high_n is None or len(spans) <= high_n))
    checks += [holds(inner, spans, took_s) for inner in match.and_ or ()]
    if match.or_ is not None:
        checks.append(any(holds(inner, spans, took_s) for inner in match.or_))
    if match.not_ is not None:
        checks.append(not holds(match.not_, spans, took_s))
    return all(checks)


def plainly(message: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    def attributes(owner: Any) -> dict[str, Any]:
        return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in owner.attributes}

    return [
        {
            "root": not span.parent_span_id,
            "name": span.name,
            "status": ("unset", "ok", "error")[span.status.code],
            "span": attributes(span),
            "scope": attributes(scope.scope),
            "resource": attributes(group.resource),
        }
        for group in message.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(requests(), MATCHES, st.sampled_from([0.01, 0.02, 0.06]))
def test_a_match_is_what_its_words_say(
    message: ExportTraceServiceRequest, words: dict[str, Any], took_s: float
) -> None:
    match, data = Match.model_validate(words), message.SerializeToString()
    conditions = span_conditions([match])
    policy = Policy.model_validate({"name": "a", "match": words, "always": True})
    facts = Facts(Sampling(policies=(policy,)), Interned(100)).of(data, wire.scan_traces(data))
    spans = plainly(message)
    for bit, condition in enumerate(conditions):
        found = (facts.matched >> np.uint32(bit) & 1).astype(bool).tolist()
        assert found == [span_holds(condition, span) for span in spans]
    # What a table of open traces does with the spans of one.
    trace = some_traces(
        1,
        took_ms=took_s * 1e3,
        spans=len(spans),
        errors=sum(span["status"] == "error" for span in spans),
        matched=np.bitwise_or.reduce(facts.matched),
    )
    (held,) = compile_match(match, conditions)(trace).tolist()
    assert held == holds(match, spans, took_s)


def test_a_value_is_equal_to_its_own_kind_only() -> None:
    values: list[Any] = ["1", True, 1, 1.0, "true", False, 0, "0", ""]
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for value in values:
        put(scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8), {"key": value})
    data = message.SerializeToString()
    scan = wire.scan_traces(data)
    for wanted in values:
        conditions = [
            Match.model_validate({"attribute": {"key": "key", "equals": wanted}}),
            Match.model_validate({"attribute": {"key": "key", "one_of": [wanted, "other", 7]}}),
        ]
        compiled = SpanConditions(conditions)
        found = compiled.of(data, scan, wire.lookup(data, scan, compiled.attributes))
        expected = [same(value, wanted) for value in values]
        assert (found & 1).astype(bool).tolist() == expected
        assert (found & 2).astype(bool).tolist() == expected


def test_each_distinct_text_meets_a_regular_expression_once() -> None:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in range(500):
        span = scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=f"op {number % 20}")
        put(span, {"path": f"/{number % 30}"})
    data = message.SerializeToString()
    scan = wire.scan_traces(data)
    conditions = [
        Match.model_validate({"operation": {"regex": "op 1.*"}}),
        Match.model_validate({"operation": {"regex": "7$"}}),
        Match.model_validate({"attribute": {"key": "path", "regex": "/1"}}),
    ]
    compiled = SpanConditions(conditions)
    values = wire.lookup(data, scan, compiled.attributes)
    first = compiled.of(data, scan, values)
    assert compiled.judged == 20 + 30
    assert (compiled.of(data, scan, values) == first).all()
    assert compiled.judged == 20 + 30
    assert set(np.flatnonzero(first & 2) % 20) == {7, 17}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=20), max_size=10), st.integers(1, 12)
)
def test_a_cache_that_is_too_small_changes_nothing_but_speed(
    batches: list[list[int]], most: int
) -> None:
    cache = VerdictCache(lambda text: int(text) * 3, most)
    for batch in batches:
        hashes = np.array(batch, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        found = cache.of(hashes, lambda row, batch=batch: str(batch[row]))
        assert found.tolist() == [3 * number for number in batch]


def test_facts_read_the_key_and_what_makes_it_readable() -> None:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    put(group.resource, {"service.name": "cart", "zone": "eu"})
    scope = group.scope_spans.add()
    first = scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="GET /cart")
    put(first, {"http.route": "/cart", "code": 200})
    scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="SELECT", trace_state="ot=th:8")
    data, texts = message.SerializeToString(), Interned(100)
    key = ("service", "operation", "span.http.route", "resource.zone", "span.code")
    facts = Facts(Sampling(key=key), texts)
    found = facts.of(data, wire.scan_traces(data))
    assert facts.fields == 3
    assert texts.text(int(found.service[0])) == "cart"
    assert [texts.text(int(h)) for h in found.extra[:, 0]] == ["/cart", "eu", "200"]
    assert found.extra[0, 1] == 0
    assert found.threshold.tolist() == [0, 0]
    assert facts.refused == 1, "a threshold above its span's randomness is inconsistent"
    assert texts.text(wire.hash64(b"SELECT")) == "SELECT"


def test_an_empty_request_has_no_facts() -> None:
    texts = Interned(10)
    found = Facts(Sampling(key=("service", "span.a")), texts).of(b"", wire.scan_traces(b""))
    assert [len(column) for column in found if column.ndim == 1] == [0, 0, 0, 0]
    assert found.extra.shape == (1, 0)
    assert len(texts) == 0
