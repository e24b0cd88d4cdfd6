"""A host of Detect without Kafka, for tests: windows in, alerts out, restarts at any point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from schemas.batches import Batch, Record
from schemas.operators import Scanned
from schemas.records.alerts import AlertEvent
from streams.alerts.counts import DetectCounts
from streams.alerts.detect import Detect
from streams.alerts.telling import RULES_TYPE
from tests.operators.detecting import ALERTS, FIRST_MS, LENGTH_MS, STATE
from tests.streams.windows.messages import Group, distribution, messages

__all__ = ["FIRST_MS", "LENGTH_MS", "Host", "of_rules", "requests"]

DELAY_MS = 11_000
"""Broker's time of a window's messages after its end."""


def requests(
    service: str, durations: Sequence[float] = (0.1,), errors: int = 0, **attributes: str
) -> Group:
    """Spans of a service in a window; attributes with ``_`` for a dot."""
    given = tuple(sorted((key.replace("_", "."), value) for key, value in attributes.items()))
    return distribution(Group("spans", service, attributes=given, errors=errors), durations)


def of_rules(record: Record) -> bool:
    """Whether a record says which rules are in force."""
    return ("ce_type", RULES_TYPE.encode()) in record.headers


class Host:
    """What runs an operator: it remembers the source, the log and a snapshot."""

    def __init__(self, make: Callable[[DetectCounts], Detect]) -> None:
        self._make = make
        self.counts = DetectCounts()
        self.operator = make(self.counts)
        self.source: list[Batch] = []
        self.visible: list[Record] = []
        self._snapshot: tuple[int, int, list[bytes]] | None = None
        self.number = 0
        """Of the last window that ``window`` has sent."""

    def send(self, records: Iterable[Record], at_ms: int) -> list[AlertEvent]:
        """Messages of the source; what became visible for people."""
        found: list[Record] = []
        for record in records:
            offset = len(self.source)
            batch = Batch("windows", 3, offset, at_ms, None, record.value, record.headers)
            self.source.append(batch)
            found += self.operator.process(Scanned(batch, None)).records
        return self._seen(found)

    def window(
        self,
        *groups: Group,
        rule: str = "spans",
        number: int | None = None,
        length_ms: int = LENGTH_MS,
        silent_sources: int = 0,
    ) -> list[AlertEvent]:
        """The next window, or the one with a number."""
        self.number = self.number + 1 if number is None else number
        end_ms = FIRST_MS + self.number * length_ms
        made = messages(rule, length_ms, end_ms, groups, silent_sources=silent_sources)
        return self.send(made, end_ms + DELAY_MS)

    def tick(self, now_ms: int) -> list[AlertEvent]:
        """Nothing more to read."""
        return self._seen(list(self.operator.tick(now_ms).records))

    def _seen(self, records: list[Record]) -> list[AlertEvent]:
        self.visible += records
        return [AlertEvent.of(r.headers, r.value) for r in records if r.topic == ALERTS]

    def snapshot(self) -> None:
        """Write its state down."""
        self._snapshot = (len(self.source), len(self.visible), list(self.operator.snapshot()))

    def restart(
        self,
        make: Callable[[DetectCounts], Detect] | None = None,
        settings: Iterable[tuple[str, str | None]] = (),
    ) -> None:
        """Die, and be another process."""
        self.operator = (make or self._make)(self.counts)
        source = log = 0
        if self._snapshot is not None:
            source, log, chunks = self._snapshot
            self.operator.restore(iter(chunks))
        for record in self.visible[log:]:
            if record.topic == STATE:
                batch = Batch(STATE, 3, 0, 0, record.key, record.value, record.headers)
                self.operator.recall(batch)
        for each in self.source[source:]:
            assert self.operator.process(Scanned(each, None, replayed=True)).records is not None
        for name, value in settings:
            self.operator.adjust(name, value)

    def states(self) -> list[AlertEvent]:
        """Everything that ``alerts.state`` was told of alerts."""
        return [
            AlertEvent.of(r.headers, r.value)
            for r in self.visible
            if r.topic == STATE and not of_rules(r)
        ]
