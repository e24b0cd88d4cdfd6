"""Topics with one thing wrong each, of which the reckoning must say what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from aiokafka import ConsumerRecord
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.records.sampling import KEPT
from streams.sampling.outgoing import REKEYED
from streams.sampling.records import VerdictRecord, WorkOrder, decode

from .chaos_observed import Messages, Topics

__all__ = ["TAMPERINGS"]

Change = Callable[[ConsumerRecord], list[ConsumerRecord]]


def _anywhere(record: ConsumerRecord) -> bool:
    return True


def _changed(
    messages: Messages, change: Change, which: Callable[[ConsumerRecord], bool] = _anywhere
) -> dict[int, list[ConsumerRecord]]:
    """With a message in the middle of those that ``which`` is true of changed into others."""
    found = [r for partition in sorted(messages) for r in messages[partition] if which(r)]
    chosen = found[len(found) // 2]
    return {
        partition: [new for r in records for new in (change(r) if r is chosen else [r])]
        for partition, records in messages.items()
    }


def _valued(record: ConsumerRecord, value: bytes) -> list[ConsumerRecord]:
    changed: ConsumerRecord = _with(record, value=value)
    return [changed]


def _with(record: ConsumerRecord, **changes: Any) -> ConsumerRecord:
    return ConsumerRecord(**{**vars(record), **changes})


def _gone(record: ConsumerRecord) -> list[ConsumerRecord]:
    return []


def _twice(record: ConsumerRecord) -> list[ConsumerRecord]:
    return [record, record]


def _verdicts(record: ConsumerRecord) -> bool:
    found = decode(record.value)
    return isinstance(found, VerdictRecord) and bool(found.traces.kept.any())


def _order(record: ConsumerRecord) -> bool:
    found = decode(record.value)
    return isinstance(found, WorkOrder) and found.stop > found.start


def _flipped(record: ConsumerRecord) -> list[ConsumerRecord]:
    """The same traces once more, decided otherwise."""
    found = decode(record.value)
    assert isinstance(found, VerdictRecord)
    flags = found.traces.flags ^ np.uint8(KEPT)
    other = replace(found, traces=found.traces._replace(flags=flags))
    return [record, *_valued(record, other.encode())]


def _edited(record: ConsumerRecord, edit: Callable[[Any], object]) -> list[ConsumerRecord]:
    message = ExportTraceServiceRequest.FromString(record.value)
    edit(message.resource_spans[0].scope_spans[0].spans)
    return _valued(record, message.SerializeToString())


def _renamed(spans: Any) -> None:
    spans[0].name = "GET /changed"


def _promised_more(spans: Any) -> None:
    spans[0].trace_state = "ot=th:123"


def _of_another(spans: Any) -> None:
    spans[0].trace_id = bytes(range(16))


def _elsewhere(record: ConsumerRecord) -> list[ConsumerRecord]:
    headers = tuple(
        (name, value.rpartition(b"/")[0] + b"/0-1" if name == "sampling.source" else value)
        for name, value in record.headers
    )
    return [_with(record, headers=headers)]


def _rekeyed(record: ConsumerRecord) -> bool:
    return REKEYED in dict(record.headers)


def _dropped_ones_too(topics: Topics) -> Topics:
    """Everything of a source message, kept or not."""
    values = [r.value for records in topics.source.values() for r in records if not _rekeyed(r)]
    value = max(values, key=len)

    def add(record: ConsumerRecord) -> list[ConsumerRecord]:
        return [record, *_valued(record, value)]

    return replace(topics, output=_changed(topics.output, add))


def _behind(offsets: Any) -> dict[int, int]:
    return {partition: offset - 1 for partition, offset in offsets.items()}


def _cases() -> Iterator[tuple[str, str, Callable[[Topics], Topics]]]:
    def output(change: Change) -> Callable[[Topics], Topics]:
        return lambda topics: replace(topics, output=_changed(topics.output, change))

    def source(change: Change, which: Callable[[ConsumerRecord], bool] = _anywhere) -> Any:
        return lambda topics: replace(topics, source=_changed(topics.source, change, which))

    def log(change: Change, which: Callable[[ConsumerRecord], bool]) -> Any:
        return lambda topics: replace(topics, decisions=_changed(topics.decisions, change, which))

    yield (
        "a message lost at once",
        "acknowledged, and not there",
        source(_gone, lambda record: not _rekeyed(record)),
    )
    yield "a span that never comes home", "not at home once|came home", source(_gone, _rekeyed)
    yield "a span that comes home twice", "not at home once", source(_twice, _rekeyed)
    yield "a verdict lost", "not one verdict", log(_gone, _verdicts)
    yield "a verdict twice", "not one verdict", log(_twice, _verdicts)
    yield "a verdict that flips", "not one verdict", log(_flipped, _verdicts)
    yield (
        "verdicts that are the contrary",
        "as its threshold says",
        log(lambda record: _flipped(record)[1:], _verdicts),
    )
    yield "an order lost", "does not follow upon", log(_gone, _order)
    yield "an order twice", "does not follow upon", log(_twice, _order)
    yield "an output lost", "not complete", output(_gone)
    yield "an output twice", "not complete", output(_twice)
    yield "what was dropped", "passed on and not kept|span twice", _dropped_ones_too
    yield (
        "a trace that nobody sent",
        "not at home once",
        output(lambda record: _edited(record, _of_another)),
    )
    yield (
        "a span that was changed",
        "not as it was sent",
        output(lambda record: _edited(record, _renamed)),
    )
    yield (
        "another threshold",
        "another threshold",
        output(lambda record: _edited(record, _promised_more)),
    )
    yield "another origin", "not from where it says", output(_elsewhere)
    yield (
        "a poison that vanished",
        "dead letters",
        lambda topics: replace(topics, dead=_changed(topics.dead, _gone)),
    )
    yield (
        "an offset that is behind",
        "sample committed",
        lambda topics: replace(
            topics, committed={**topics.committed, "sample": _behind(topics.committed["sample"])}
        ),
    )
    yield (
        "a journal that is behind",
        "emit committed",
        lambda topics: replace(
            topics, progress={**topics.progress, "emit": _behind(topics.progress["emit"])}
        ),
    )


TAMPERINGS = {name: (said, tamper) for name, said, tamper in _cases()}
"""By what it is: a regular expression of what is said about it, and how it is done."""
