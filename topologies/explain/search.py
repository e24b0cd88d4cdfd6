"""From a trace id to what the topics say about it."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from schemas.config import Config
from schemas.errors import ConfigurationError, MalformedMessage, PermanentError
from streams import wire
from streams.sampling.explain import Explanation, TraceOrder, split_trace_id
from streams.sampling.outgoing import SOURCE
from streams.sampling.records import WorkOrder, decode
from topologies.kafka import AdminClient, list_topics

from .answer import Answer, Delivery, Searched, Waiting
from .reading import Reader, newest_first, reading

__all__ = ["parse_trace_id", "search"]

CLOCKS_MS = 5000
"""Brokers' clocks may differ so much; where a time leads to an offset we begin so much earlier."""
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_RANGE = re.compile(r"(.*)/(\d+)/(\d+)-(\d+)")


def parse_trace_id(text: str) -> bytes:
    """The 16 bytes of a trace id in hexadecimal digits. Raises ConfigurationError."""
    if not _TRACE_ID.fullmatch(text) or not int(text, 16):
        raise ConfigurationError(
            f"{text!r} is no trace id: 32 hexadecimal digits, not all of them 0"
        )
    return bytes.fromhex(text)


async def search(config: Config, trace_id: bytes, since_ms: int = 0) -> Answer:
    """What is known about a trace.

    Args:
        config: the whole configuration.
        trace_id: 16 bytes.
        since_ms: how far back to look, Unix milliseconds by the broker's clock.

    Raises:
        ConfigurationError: there are no such topics, or Kafka refuses us.
        BrokerUnavailable: Kafka is away.
    """
    names = config.topics.names
    states = await list_topics(config.kafka, [names.decisions, names.spans, names.spans_out])
    if missing := [n for n in (names.decisions, names.spans) if n not in states]:
        raise ConfigurationError(
            f"there is no topic {missing[0]}: nothing was sampled here (sampling.enabled)"
        )
    async with reading(config.kafka) as reader:
        looking = _Looking(config, reader, trace_id, since_ms)
        answer = await looking.everywhere(states[names.spans].partitions)
        if answer.state == "kept" and names.spans_out in states:
            await looking.deliveries(answer)
        return answer


class _Log(NamedTuple):
    """What was seen on the decisions log beside the trace itself."""

    appended_ms: dict[int, int]
    """Broker's time of the records with work orders, by offset."""
    decided_stop: int
    """Every span before this source offset is decided; 0: no order was seen."""


class _Looking:
    """One search."""

    def __init__(self, config: Config, reader: Reader, trace_id: bytes, since_ms: int) -> None:
        self._config = config
        self._names = config.topics.names
        self._reader = reader
        self._trace_id = trace_id
        self._since_ms = since_ms
        self._counts: set[int] = set()
        """Numbers of partitions that work orders know of."""
        self._log = _Log({}, 0)

    async def everywhere(self, partitions: int) -> Answer:
        """On the trace's partition; then where it was before the topic got more partitions."""
        self._counts.add(partitions)
        tried, searched, answers = set[int](), list[Searched](), list[Answer]()
        while untried := self._counts - tried:
            count = partitions if partitions in untried else max(untried)
            tried.add(count)
            partition = wire.partition_of_trace(
                self._trace_id, count, self._config.ingest.partitioner
            )
            if partition >= partitions or partition in {each.partition for each in answers}:
                continue
            answers.append(await self._on(partition))
            searched += answers[-1].searched
            if answers[-1].state != "unknown":
                break
        answer = answers[0] if answers[-1].state == "unknown" else answers[-1]
        answer.searched = searched
        return answer

    async def _on(self, partition: int) -> Answer:
        """Look there for a verdict, and where there is none for spans that wait for one."""
        answer = Answer(Explanation(self._trace_id), partition)
        answer.searched.append(await self._decisions(answer))
        if answer.explanation.verdict is None:
            answer.searched.append(await self._undecided(answer))
        return answer

    async def _decisions(self, answer: Answer) -> Searched:
        topic, partition, found = self._names.decisions, answer.partition, answer.explanation
        start, end = await self._span(topic, partition)
        appended_ms, decided_stop, messages, unreadable = dict[int, int](), 0, 0, 0
        begin = end
        for begin, stop in newest_first(start, end):
            async for message in self._reader.forwards(topic, partition, begin, stop):
                messages += 1
                try:
                    record = decode(message.value)
                except MalformedMessage:
                    unreadable += 1
                    continue
                found.take(record, message.offset)
                if isinstance(record, WorkOrder):
                    appended_ms[message.offset] = message.timestamp_ms
                    decided_stop = max(decided_stop, record.stop)
                    self._counts.update(count for _, count in record.partitions)
            if found.verdict is not None:
                break
        self._log = _Log(appended_ms, decided_stop)
        return Searched(topic, partition, begin, end, messages, unreadable)

    async def _undecided(self, answer: Answer) -> Searched:
        topic, partition = self._names.spans, answer.partition
        start, end = await self._span(topic, partition)
        start = min(max(start, self._log.decided_stop), end)
        messages = unreadable = spans = 0
        first = last = None
        async for message in self._reader.forwards(topic, partition, start, end):
            messages += 1
            try:
                here = _spans(message.value, self._trace_id)
            except PermanentError:
                unreadable += 1
                continue
            if here:
                spans += here
                first, last = first or message, message
        if first is not None and last is not None:
            answer.waiting = Waiting(
                spans, first.timestamp_ms, last.timestamp_ms, first.offset, last.offset
            )
        return Searched(topic, partition, start, end, messages, unreadable)

    async def deliveries(self, answer: Answer) -> None:
        """Where the spans of its work orders went."""
        group = f"{self._config.kafka.group_prefix}.emit"
        async with AdminClient(self._config.kafka) as admin:
            committed = await admin.committed(group)
        done = committed.get((self._names.decisions, answer.partition), 0)
        for order in answer.orders:
            if order.offset >= done:
                answer.undone.append(order)
            else:
                await self._delivered(answer, order)

    async def _delivered(self, answer: Answer, order: TraceOrder) -> None:
        topic, partition = self._names.spans_out, answer.partition
        time_ms = self._log.appended_ms.get(order.offset, order.issued_ms) - CLOCKS_MS
        begin = await self._reader.offset_at(topic, partition, time_ms)
        start, end = await self._reader.bounds(topic, partition)
        begin = end if begin is None else max(begin, start)
        messages = unreadable = 0
        stop = begin
        async for message in self._reader.forwards(topic, partition, begin, end):
            stop, messages = message.offset + 1, messages + 1
            source = dict(message.headers).get(SOURCE, b"").decode("utf-8", "replace")
            if source == order.source:
                try:
                    spans = _spans(message.value, self._trace_id)
                except PermanentError:
                    unreadable += 1
                    continue
                if spans:
                    answer.deliveries.append(
                        Delivery(
                            topic, partition, message.offset, message.timestamp_ms, source, spans
                        )
                    )
            elif _starts(source, order) >= order.stop:
                break
        answer.searched.append(Searched(topic, partition, begin, stop, messages, unreadable))

    async def _span(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset to look at, and the end."""
        start, end = await self._reader.bounds(topic, partition)
        if self._since_ms:
            since = await self._reader.offset_at(topic, partition, self._since_ms)
            start = end if since is None else min(max(start, since), end)
        return start, end


def _spans(value: bytes, trace_id: bytes) -> int:
    """How many spans of a message are of the trace. Raises PermanentError."""
    scan = wire.scan_traces(value, strict_ids=False)
    high, low = split_trace_id(trace_id)
    of_trace = (scan.trace_id_low == np.uint64(low)) & (scan.trace_id_high == np.uint64(high))
    return int(np.count_nonzero(of_trace & scan.valid))


def _starts(source: str, order: TraceOrder) -> int:
    """Where a range of the order's partition starts; -1: it is another's."""
    match = _RANGE.fullmatch(source)
    if match is None or (match[1], int(match[2])) != (order.topic, order.partition):
        return -1
    return int(match[3])
