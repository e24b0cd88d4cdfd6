"""What sampling has made of traffic, as it lies on the topics, and whether it is right.

A reader of committed records must find

1. the source: each acknowledged message, and each span that went astray sent home, once
2. one verdict for each trace, on its own partition, that its randomness and its policy explain:
   every trace whose first message had an error is kept, all noise without one dropped
3. work orders that tile the source without a gap, up to its end
4. of each kept trace every span once, as it was sent but for its tracestate, with its tenant and
   from where it says; of dropped ones, and beside them, nothing
5. unreadable messages among the dead letters, once
6. progress in the journals that is the committed offset, which is the topic's end
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.config import Sampling
from streams import wire
from streams.sampling import consistent
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.outgoing import REKEYED, source_text
from streams.sampling.records import VerdictRecord, decode

from .chaos_observed import Arrival, Observed, Order, Topics, Trace, every
from .chaos_traces import NOISE, spans

__all__ = ["Reckoning"]

_ERROR = 2
"""Status of a span that failed."""
_TOLD = 5
"""Of so many wrong traces it is said what is known."""
_NEAR_MS = 30_000
"""A trace is decided, also after a restart, so long after it has come at the latest."""
_MISTAKEN = 0.001
"""Share of traces that may be mistaken for dropped ones; see DroppedTraces."""


class Reckoning:
    """``check`` raises AssertionError with what is wrong, and with all about the traces.

    Args:
        topics: what there is.
        settings: of sampling.
        partitions: of the source.
        name: of the source.
    """

    def __init__(self, topics: Topics, settings: Sampling, partitions: int, name: str) -> None:
        self.mistaken: list[bytes] = []
        """Found in the filter of dropped traces by mistake, as about one in 10,000 may be."""
        observed = Observed(topics, name)
        self.traces = observed.traces
        self._settings = settings
        self._partitions = partitions
        self._name = name
        self._topics, self._orders, self._poison = topics, observed.orders, observed.poison

    def check(self) -> None:
        """All of it."""
        self._check_source()
        self._check_verdicts()
        self._check_orders()
        self._check_output()
        self._check_dead()
        self._check_progress()

    @property
    def figures(self) -> dict[str, int]:
        """How much there was of what."""
        traces = self.traces.values()
        kept = [trace for trace in traces if trace.verdicts and trace.verdicts[0].kept]
        return {
            "messages": sum(map(len, self._topics.source.values())),
            "traces": len(traces),
            "kept traces": len(kept),
            "kept spans": sum(len(trace.delivered) for trace in kept),
            "spans that went astray": sum(
                1 for trace in traces for each in self._at_home(trace) if each.origin
            ),
            # More arrived than were decided upon.
            "kept traces with late spans": sum(
                1 for trace in kept if len(self._at_home(trace)) > trace.verdicts[0].spans
            ),
            "work orders": sum(map(len, self._orders.values())),
            "unreadable messages": self._poison.total(),
            "mistaken for dropped": len(self.mistaken),
        }

    # --- whether it is right

    def _check_source(self) -> None:
        there = {(m.partition, m.offset): m for m in every(self._topics.source)}
        for sent in self._topics.sent:
            message = there.pop((sent.partition, sent.offset), None)
            assert message is not None, f"acknowledged, and not there: {sent[:2]}"
            assert message.value == sent.value, f"another message at {sent[:2]}"
        foreign = [place for place, m in there.items() if REKEYED not in dict(m.headers)]
        assert not foreign, f"nobody sent the messages at {foreign}"
        told = {_identity(span) for sent in self._topics.sent for span in _readable(sent.value)}
        self._each(
            "a span that is not at home once",
            lambda trace: (
                set(Counter(_identity(a.span) for a in self._at_home(trace)).values()) != {1}
            ),
        )
        home = {_identity(a.span) for t in self.traces.values() for a in self._at_home(t)}
        assert told == home, f"{len(told - home)} spans never came home"

    def _check_verdicts(self) -> None:
        undecided = [name for name, trace in self.traces.items() if not trace.verdicts]
        self.mistaken = [name for name in undecided if self._is_mistaken(self.traces[name])]
        mistaken = {id(self.traces[name]) for name in self.mistaken}
        assert len(self.mistaken) <= 1 + _MISTAKEN * len(self.traces), "mistaken far too often"
        self._each(
            "not one verdict",
            lambda trace: len(trace.verdicts) != 1 and id(trace) not in mistaken,
        )
        decided = {name: trace for name, trace in self.traces.items() if trace.verdicts}
        self._each(
            "a verdict on a partition that is not its own",
            lambda trace: trace.verdicts[0].partition != self._home(trace), decided,
        )  # fmt: skip
        self._each("not kept as its threshold says", _is_inconsistent, decided)
        self._each(
            "decided by more spans than came",
            lambda trace: not 1 <= trace.verdicts[0].spans <= len(self._at_home(trace)), decided,
        )  # fmt: skip
        self._each(
            "an error that was not kept",
            lambda trace: (
                self._begins_with_error(trace)
                and not (trace.verdicts[0].kept and trace.verdicts[0].policy == "errors")
            ),
            decided,
        )
        self._each(
            "noise that was kept",
            lambda trace: (
                trace.arrivals[0].span.name == NOISE
                and not any(_failed(a.span) for a in trace.arrivals)
                and (trace.verdicts[0].kept or trace.verdicts[0].policy != "noise")
            ),
            decided,
        )

    def _check_orders(self) -> None:
        for partition, messages in self._topics.source.items():
            at, last = messages[0].offset, Order(partition, -1, 0, 0, 0, frozenset())
            for order in self._orders[partition]:
                again = order.part == last.part + 1 and order[2:4] == last[2:4]
                assert again or (order.start == at and order.part == 0), (
                    f"{order._replace(traces=frozenset())} does not follow upon"
                    f" {last._replace(traces=frozenset())}"
                )
                at, last = order.stop, order
            end = messages[-1].offset + 1
            assert at == end, f"partition {partition} is ordered up to {at}, and ends at {end}"

    def _check_output(self) -> None:
        kept = {n: t for n, t in self.traces.items() if t.verdicts and t.verdicts[0].kept}
        rest = {name: trace for name, trace in self.traces.items() if name not in kept}
        self._each("passed on and not kept", lambda trace: bool(trace.delivered), rest)
        self._each("ordered and not kept", lambda trace: bool(trace.orders), rest)
        self._each(
            "not complete, or a span twice",
            lambda trace: (
                sorted(a.span.span_id for a in trace.delivered)
                != sorted(a.span.span_id for a in self._at_home(trace))
            ),
            kept,
        )
        self._each(
            "not as it was sent",
            lambda trace: (
                sorted(map(_content, trace.delivered))
                != sorted(map(_content, self._at_home(trace)))
            ),
            kept,
        )
        self._each("with another threshold than its verdict's", _is_told_wrongly, kept)
        self._each("not from where it says", self._is_misplaced, kept)

    def _check_dead(self) -> None:
        dead = Counter(message.value for message in every(self._topics.dead))
        assert dead == self._poison, f"dead letters: {dead - self._poison} {self._poison - dead}"
        assert set(self._poison.values()) <= {1}

    def _check_progress(self) -> None:
        stages = {"sample": self._topics.source, "emit": self._topics.decisions}
        for stage, messages in stages.items():
            ends = {number: records[-1].offset + 1 for number, records in messages.items()}
            committed, progress = self._topics.committed[stage], self._topics.progress[stage]
            assert ends == committed, f"{stage} committed {committed} and the ends are {ends}"
            assert progress == committed, f"{stage} committed {committed}, journal: {progress}"

    # --- about a trace

    def _each(
        self,
        what: str,
        wrong: Callable[[Trace], bool],
        among: Mapping[bytes, Trace] | None = None,
    ) -> None:
        among = self.traces if among is None else among
        found = {name: trace for name, trace in among.items() if wrong(trace)}
        told = "\n".join(f"  {name.hex()} {found[name]}" for name in list(found)[:_TOLD])
        assert not found, f"{len(found)} of {len(among)} traces: {what}\n{told}"

    def _home(self, trace: Trace) -> int:
        name = (trace.arrivals or trace.delivered)[0].span.trace_id
        return wire.partition_of_trace(name, self._partitions)

    def _at_home(self, trace: Trace) -> list[Arrival]:
        return [a for a in trace.arrivals if a.partition == self._home(trace)]

    def _begins_with_error(self, trace: Trace) -> bool:
        home = self._at_home(trace)
        return any(_failed(a.span) for a in home if a.offset == home[0].offset)

    def _is_misplaced(self, trace: Trace) -> bool:
        offsets = {a.span.span_id: a.offset for a in self._at_home(trace)}
        ordered = {
            source_text(self._name, order.partition, order.start, order.stop): order
            for order in trace.orders
        }
        for each in trace.delivered:
            order = ordered.get(each.origin)
            if (
                order is None
                or each.partition != order.partition
                or not order.start <= offsets[each.span.span_id] < order.stop
            ):
                return True
        return False

    def _is_mistaken(self, trace: Trace) -> bool:
        """Whether the filter of dropped traces errs about it, at some time of its life.

        While it came, or when it was replayed: then there were later ones in the filter, too.
        """
        if not trace.arrivals:
            return False
        first = self._at_home(trace)[0]
        low, high = (int.from_bytes(first.span.trace_id[a : a + 8], "big") for a in (8, 0))
        ids = np.array([high], np.uint64), np.array([low], np.uint64)
        source = next(m for m in self._topics.source[first.partition] if m.offset == first.offset)
        dropped = DroppedTraces(
            self._settings.dropped_max, round(self._settings.decision_memory * 1000)
        )
        errs = False
        for message in self._topics.decisions[first.partition]:
            record = decode(message.value)
            if not isinstance(record, VerdictRecord):
                continue
            if record.decided_ms > source.timestamp and (
                errs or record.decided_ms > source.timestamp + _NEAR_MS
            ):
                break
            rows, gone = record.traces, ~record.traces.kept
            dropped.add(rows.trace_id_high[gone], rows.trace_id_low[gone], record.decided_ms)
            errs = bool(dropped.contains(*ids)[0])
        return errs


def _readable(value: bytes) -> list[Span]:
    try:
        return [span for _, span in spans(value)]
    except DecodeError:
        return []


def _identity(span: Span) -> bytes:
    return span.trace_id + span.span_id


def _failed(span: Span) -> bool:
    return bool(span.status.code == _ERROR)


def _content(arrival: Arrival) -> tuple[bytes, bytes, str, bytes]:
    """Of a span: all but its tracestate."""
    span = Span.FromString(arrival.span.SerializeToString())
    span.ClearField("trace_state")
    return span.span_id, arrival.tenant, arrival.service, span.SerializeToString(deterministic=True)


def _is_inconsistent(trace: Trace) -> bool:
    [verdict] = trace.verdicts
    low = int.from_bytes(trace.arrivals[0].span.trace_id[8:], "big")
    if verdict.threshold == consistent.UNKNOWN:
        return False
    return verdict.kept != (consistent.randomness(low) >= verdict.threshold)


def _is_told_wrongly(trace: Trace) -> bool:
    threshold = trace.verdicts[0].threshold
    known = threshold != consistent.UNKNOWN
    state = f"ot=th:{consistent.encode(threshold)}" if known else ""
    return {each.span.trace_state for each in trace.delivered} != {state}
