"""What is known about a trace, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from streams.sampling import consistent
from streams.sampling.explain import Explanation, TraceOrder, TraceVerdict

__all__ = ["Answer", "Delivery", "Searched", "State", "Waiting"]

State = Literal["kept", "dropped", "open", "unknown"]


class Delivery(NamedTuple):
    """A message with kept spans of the trace."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    source: str
    """Its header ``sampling.source``: the range of the work order."""
    spans: int
    """Of the trace."""


class Waiting(NamedTuple):
    """Spans of a trace that is not decided yet."""

    spans: int
    first_ms: int
    """Broker's time of the message with the first of them, Unix milliseconds."""
    last_ms: int
    first_offset: int
    last_offset: int


class Searched(NamedTuple):
    """What was read of a partition."""

    topic: str
    partition: int
    start: int
    stop: int
    """Offsets from ``start`` to before ``stop``."""
    messages: int
    unreadable: int
    """Messages among them that cannot be read."""


@dataclass
class Answer:
    """About one trace."""

    explanation: Explanation
    partition: int
    """Where its spans lie, and what was decided about them."""
    deliveries: list[Delivery] = field(default_factory=list)
    undone: list[TraceOrder] = field(default_factory=list)
    """Work orders that emit has not come to yet."""
    waiting: Waiting | None = None
    searched: list[Searched] = field(default_factory=list)

    @property
    def state(self) -> State:
        """In one word."""
        verdict = self.explanation.verdict
        if verdict is not None:
            return "kept" if verdict.kept else "dropped"
        return "unknown" if self.waiting is None else "open"

    @property
    def orders(self) -> list[TraceOrder]:
        """Those that follow from the verdict in force."""
        verdict = self.explanation.verdict
        since = 0 if verdict is None else verdict.offset
        return [order for order in self.explanation.orders if order.offset > since]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        verdict = self.explanation.verdict
        undone = {order.offset for order in self.undone}
        return {
            "trace_id": self.explanation.trace_id.hex(),
            "state": self.state,
            "partition": self.partition,
            "verdict": None if verdict is None else _verdict(verdict),
            "earlier_verdicts": [_verdict(each) for each in self.explanation.verdicts[:-1]],
            "orders": [
                {
                    "offset": order.offset,
                    "source": order.source,
                    "issued_ms": order.issued_ms,
                    "policy": order.policy,
                    "done": order.offset not in undone,
                }
                for order in self.orders
            ],
            "deliveries": [each._asdict() for each in self.deliveries],
            "waiting": None if self.waiting is None else self.waiting._asdict(),
            "searched": [each._asdict() for each in self.searched],
        }


def _verdict(verdict: TraceVerdict) -> dict[str, Any]:
    return {
        "kept": verdict.kept,
        "policy": verdict.policy,
        "key": verdict.key,
        "key_fields": list(verdict.key_fields),
        "probability": verdict.probability,
        "th": verdict.th,
        "adjusted_count": adjusted_count(verdict),
        "early": verdict.early,
        "decided_ms": verdict.decided_ms,
        "spans": verdict.spans,
        "bytes": verdict.size_bytes,
        "duration_ms": verdict.duration_ms,
        "error": verdict.error,
        "offset": verdict.offset,
    }


def adjusted_count(verdict: TraceVerdict) -> float | None:
    """How many traces a kept one stands for; None: dropped, or not known."""
    threshold = verdict.threshold
    if not verdict.kept or threshold is None or threshold >= consistent.MAX:
        return None
    return float(consistent.adjusted_count(threshold))
