"""The account of items, against plain multisets."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.signals import Signal
from streams.wire import json as wire_json
from topologies.demo.ledger import Ledger


def request_of(*spans: int) -> bytes:
    message = wire_json.REQUESTS[Signal.TRACES]()
    scope = message.resource_spans.add().scope_spans.add()
    for number in spans:
        scope.spans.add(trace_id=b"\1" * 16, span_id=bytes([number]) * 8)
    return message.SerializeToString()


SPANS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["send", "ack", "arrive", "alien"]), SPANS), max_size=25))
def test_counts_are_those_of_multisets(steps):
    ledger = Ledger(settled_max=1000)
    sent, acknowledged, arrived = Counter(), Counter(), Counter()
    repeated = foreign = 0
    pending = []
    for what, spans in steps:
        if what == "send":
            ledger.sent(Signal.TRACES, request_of(*spans))
            sent.update(spans)
            pending.append(spans)
        elif what == "ack" and pending:
            oldest = pending.pop(0)
            ledger.acknowledged(Signal.TRACES, request_of(*oldest))
            acknowledged.update(oldest)
        elif what == "arrive":
            ledger.arrived(Signal.TRACES, request_of(*spans))
            for one in spans:
                if one not in sent:
                    foreign += 1
                elif arrived[one] == sent[one]:
                    repeated += 1
                else:
                    arrived[one] += 1
        elif what == "alien":
            ledger.arrived(Signal.TRACES, request_of(*(one + 100 for one in spans)))
            foreign += len(spans)
    counts = ledger.counts[Signal.TRACES]
    assert counts.sent == sent.total()
    assert counts.acknowledged == acknowledged.total()
    assert counts.exported == arrived.total()
    assert (counts.repeated, counts.foreign) == (repeated, foreign)
    assert counts.missing == (acknowledged - arrived).total() == ledger.missing
    assert ledger.agree == (sent == acknowledged == arrived and not foreign)


def test_memory_is_bounded_and_what_is_missing_is_never_forgotten():
    ledger = Ledger(settled_max=10)
    ledger.sent(Signal.TRACES, request_of(200))
    ledger.acknowledged(Signal.TRACES, request_of(200))
    for number in range(1, 100):
        for step in (ledger.sent, ledger.acknowledged, ledger.arrived):
            step(Signal.TRACES, request_of(number))
    assert ledger.remembered == 11
    assert ledger.forgotten == 89
    ledger.arrived(Signal.TRACES, request_of(99))
    assert ledger.counts[Signal.TRACES].repeated == 1
    assert ledger.missing == 1
    ledger.arrived(Signal.TRACES, request_of(200))
    assert ledger.agree


async def test_waiting_ends_with_the_last_arrival():
    import asyncio

    ledger = Ledger(settled_max=10)
    await ledger.nothing_missing()
    ledger.sent(Signal.TRACES, request_of(1, 2))
    ledger.acknowledged(Signal.TRACES, request_of(1, 2))
    waiting = asyncio.create_task(ledger.nothing_missing())
    ledger.arrived(Signal.TRACES, request_of(1))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.02)
    ledger.arrived(Signal.TRACES, request_of(2))
    await asyncio.wait_for(waiting, 5)
