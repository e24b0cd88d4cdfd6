"""What is known about a trace, in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from schemas.config import Config
from schemas.config.units import format_duration
from streams.sampling.explain import TraceVerdict

from .answer import Answer, adjusted_count

__all__ = ["as_rows"]

Row = tuple[str, str]
_EARLIER_MAX = 5
FALSE_POSITIVES = "0.05 to 0.08 %"
"""Of a full filter; see ``streams.sampling.dropped_traces``."""


def as_rows(answer: Answer, config: Config) -> Iterator[Row]:
    """Lines of a table: what, and what is known about it."""
    verdict = answer.explanation.verdict
    yield "trace", f"{answer.explanation.trace_id.hex()}: {answer.state}"
    if verdict is not None:
        yield from _decided(answer, verdict, config)
    elif answer.waiting is not None:
        yield from _waiting(answer, config)
    else:
        yield from _unknown(config)
    for each in answer.searched:
        said = f"{each.topic}/{each.partition} from {each.start} to {each.stop}"
        if each.unreadable:
            said += f", {each.unreadable:,} messages unreadable"
        yield "searched", said


def _unknown(config: Config) -> Iterator[Row]:
    retention = format_duration(config.topics.decisions_retention)
    yield "", "no verdict, and no span of it waits for one"
    yield "may be", "it never came here: refused by ingest, or sent to somebody else"
    yield "or", f"its verdict is older than {retention} (topics.decisions_retention), or --since"
    yield (
        "or",
        f"{FALSE_POSITIVES} of new traces are taken for late spans of a dropped one, and dropped "
        "without a verdict: the filter of these errs (docs/sampling.md)",
    )


def _decided(answer: Answer, verdict: TraceVerdict, config: Config) -> Iterator[Row]:
    early = "; early: too many traces were open (sampling.max_open_traces)"
    yield "decided", f"{_time(verdict.decided_ms)}{early if verdict.early else ''}"
    yield "policy", verdict.policy
    key = verdict.key if verdict.key is not None else f"(hash {verdict.key_hash:016x})"
    yield "key", f"{key} ({', '.join(('tenant', *verdict.key_fields))})"
    yield "probability", _probability(verdict)
    error = ", with an error" if verdict.error else ""
    yield (
        "trace",
        f"{verdict.spans:,} spans when it was decided, {verdict.size_bytes:,} bytes, "
        f"{verdict.duration_ms:,.1f} ms{error}",
    )
    names, partition = config.topics.names, answer.partition
    yield "verdict", f"{names.decisions}/{partition} offset {verdict.offset}"
    for each in answer.explanation.verdicts[:-1][-_EARLIER_MAX:]:
        what = "kept" if each.kept else "dropped"
        yield "before", f"{what} at {_time(each.decided_ms)} by {each.policy}, and forgotten since"
    if verdict.kept:
        yield from _sent(answer, config)


def _sent(answer: Answer, config: Config) -> Iterator[Row]:
    names, partition = config.topics.names, answer.partition
    undone = {order.offset for order in answer.undone}
    for order in answer.orders:
        waits = "; emit has not come to it yet" if order.offset in undone else ""
        yield (
            "work order",
            f"{names.decisions}/{partition} offset {order.offset}: spans of {order.topic}/"
            f"{order.partition} from {order.start} to {order.stop}{waits}",
        )
    if not answer.orders:
        yield "work order", "none yet: something that came before it is not decided"
    for each in answer.deliveries:
        yield (
            "sent to",
            f"{each.topic}/{each.partition} offset {each.offset} at {_time(each.timestamp_ms)}, "
            f"{each.spans:,} spans",
        )
    if answer.orders and not answer.deliveries and len(undone) < len(answer.orders):
        yield (
            "sent to",
            f"not found on {names.spans_out}/{partition}: retention may have removed it",
        )


def _waiting(answer: Answer, config: Config) -> Iterator[Row]:
    waiting = answer.waiting
    assert waiting is not None  # noqa: S101 - the caller has looked
    wait = format_duration(config.sampling.decision_wait)
    yield "spans", f"{waiting.spans:,} on {config.topics.names.spans}/{answer.partition} so far"
    yield "first", f"offset {waiting.first_offset} at {_time(waiting.first_ms)}"
    yield "last", f"offset {waiting.last_offset} at {_time(waiting.last_ms)}"
    yield "decision", f"at most {wait} after the first (sampling.decision_wait)"


def _probability(verdict: TraceVerdict) -> str:
    if verdict.probability is None:
        return "not known: what it stands for cannot be said (th is removed)"
    said = f"{verdict.probability:.6g}"
    count = adjusted_count(verdict)
    if count is not None:
        said += f", threshold th:{verdict.th}, stands for {count:,.4g} traces"
    return said


def _time(unix_ms: int) -> str:
    when = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}.{unix_ms % 1000:03} UTC"
