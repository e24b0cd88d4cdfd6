"""What lies on the topics of sampling after chaos, trace by trace."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.sampling.outgoing import REKEYED, SOURCE
from streams.sampling.records import VerdictRecord, WorkOrder, decode

from .chaos_traces import TENANT, Sent, spans

__all__ = ["Arrival", "Messages", "Observed", "Order", "Topics", "Trace", "Verdict", "every"]

Messages = Mapping[int, Sequence[ConsumerRecord]]
"""Of a topic: committed messages by partition, in order."""


@dataclass(frozen=True)
class Topics:
    """All that is there, and all that was sent."""

    sent: Sequence[Sent]
    source: Messages
    decisions: Messages
    output: Messages
    dead: Messages
    progress: Mapping[str, Mapping[int, int]]
    """By stage and partition: position of the last progress record."""
    committed: Mapping[str, Mapping[int, int]]
    """By stage and partition: the group's offset."""


class Verdict(NamedTuple):
    partition: int
    offset: int
    decided_ms: int
    kept: bool
    policy: str
    threshold: int
    spans: int


class Order(NamedTuple):
    partition: int
    offset: int
    start: int
    stop: int
    part: int
    traces: frozenset[bytes]


class Arrival(NamedTuple):
    """A span on the source, or on the output."""

    partition: int
    offset: int
    tenant: bytes
    service: str
    span: Span
    origin: str
    """Header that says from where sampling took it; empty: it did not."""


@dataclass
class Trace:
    """What is known of a trace."""

    arrivals: list[Arrival] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    delivered: list[Arrival] = field(default_factory=list)

    def __str__(self) -> str:
        def places(arrivals: list[Arrival]) -> list[str]:
            return [
                f"span {a.span.span_id.hex()} at {a.partition}/{a.offset}"
                + (f" from {a.origin}" if a.origin else "")
                for a in arrivals
            ]

        orders = [each._replace(traces=frozenset()) for each in self.orders]
        return "\n    ".join(
            ["source:", *places(self.arrivals), *map(str, self.verdicts), *map(str, orders),
             "output:", *places(self.delivered)]
        )  # fmt: skip


class Observed:
    """Topics, read.

    Args:
        topics: what there is.
        name: of the source.
    """

    def __init__(self, topics: Topics, name: str) -> None:
        self.topics = topics
        self.traces: dict[bytes, Trace] = defaultdict(Trace)
        self.orders: dict[int, list[Order]] = defaultdict(list)
        """By partition."""
        self.poison: Counter[bytes] = Counter()
        """Messages of the source that cannot be read."""
        self._name = name
        self._take_source()
        self._take_decisions()
        self._take_output()

    def _take_source(self) -> None:
        for message in every(self.topics.source):
            for arrival in self._arrivals(message, REKEYED):
                self.traces[arrival.span.trace_id].arrivals.append(arrival)

    def _take_output(self) -> None:
        for message in every(self.topics.output):
            for arrival in self._arrivals(message, SOURCE):
                self.traces[arrival.span.trace_id].delivered.append(arrival)

    def _arrivals(self, message: ConsumerRecord, origin: str) -> Iterator[Arrival]:
        headers = dict(message.headers)
        place = (message.partition, message.offset, headers.get(TENANT, b""))
        try:
            for service, span in spans(message.value):
                yield Arrival(*place, service, span, headers.get(origin, b"").decode())
        except DecodeError:
            self.poison[message.value] += 1

    def _take_decisions(self) -> None:
        for message in every(self.topics.decisions):
            found = decode(message.value)
            assert (found.topic, found.partition) == (self._name, message.partition)
            if isinstance(found, WorkOrder):
                self._take_order(message, found)
            else:
                self._take_verdicts(message, found)

    def _take_order(self, message: ConsumerRecord, found: WorkOrder) -> None:
        traces = frozenset(_ids(found.traces))
        place = (message.partition, message.offset)
        order = Order(*place, found.start, found.stop, found.part, traces)
        self.orders[message.partition].append(order)
        for trace in traces:
            self.traces[trace].orders.append(order)

    def _take_verdicts(self, message: ConsumerRecord, found: VerdictRecord) -> None:
        rows, place = found.traces, (message.partition, message.offset, found.decided_ms)
        columns = (
            _ids(rows), rows.kept.tolist(), found.groups.policy[rows.group].tolist(),
            found.thresholds.tolist(), rows.spans.tolist(),
        )  # fmt: skip
        for trace, kept, policy, threshold, count in zip(*columns, strict=True):
            verdict = Verdict(*place, kept, found.policies[policy], threshold, count)
            self.traces[trace].verdicts.append(verdict)


def every(messages: Messages) -> Iterator[ConsumerRecord]:
    for partition in sorted(messages):
        yield from messages[partition]


def _ids(rows: Any) -> list[bytes]:
    halves = zip(rows.trace_id_high.tolist(), rows.trace_id_low.tolist(), strict=True)
    return [(high << 64 | low).to_bytes(16, "big") for high, low in halves]
