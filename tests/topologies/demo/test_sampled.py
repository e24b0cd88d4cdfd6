"""The account of sampled traces, against its definition over everything that has happened."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.signals import Signal
from topologies.demo.ledger import Ledger
from topologies.demo.sampled import SampledTraces, Verdict

from .test_ledger import request_of

KEPT = Verdict(True, "budget", 4.0)
DROPPED = Verdict(False, "budget", None)


def ids(trace: int, *spans: int) -> list[bytes]:
    return [bytes([trace]) * 16 + bytes([span]) * 8 for span in spans]


SPANS = st.lists(st.integers(1, 4), min_size=1, max_size=4)
TRACE = st.integers(1, 3)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["send", "ack", "arrive", "alien"]), TRACE, SPANS),
    st.tuples(st.just("decide"), TRACE, st.sampled_from([KEPT, DROPPED])),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(STEPS, max_size=30))
def test_figures_are_what_their_names_say(steps):
    account = SampledTraces(settled_max=1000)
    sent, acknowledged, arrived = (defaultdict(Counter) for _ in range(3))
    verdicts: dict[int, Verdict] = {}
    decisions, known, alien, foreign = Counter(), 0, 0, 0
    pending = []
    for what, trace, argument in steps:
        if what == "send":
            account.sent(ids(trace, *argument))
            sent[trace].update(argument)
            pending.append((trace, argument))
        elif what == "ack" and pending:
            oldest, spans = pending.pop(0)
            account.acknowledged(ids(oldest, *spans))
            acknowledged[oldest].update(spans)
        elif what == "decide":
            account.decided(bytes([trace]) * 16, argument)
            if trace in sent:
                decisions[trace] += 1
                verdicts.setdefault(trace, argument)
            else:
                alien += 1
        elif what == "arrive":
            # Spans of a dropped trace are not told apart: all that arrive are wrong.
            spans = [s for s in argument if s in sent[trace] or not verdicts.get(trace, KEPT).kept]
            if not sent[trace]:
                del sent[trace]
            known += account.arrived(ids(trace, *argument))
            foreign += len(argument) - len(spans)
            arrived[trace].update(spans)
        elif what == "alien":
            assert account.arrived(ids(trace + 100, *argument)) == 0
            foreign += len(argument)
    kept = {t for t, v in verdicts.items() if v.kept}
    dropped = verdicts.keys() - kept
    counts = account.counts
    assert counts.traces == len(sent)
    assert counts.undecided == len({t for t, c in acknowledged.items() if c} - verdicts.keys())
    assert (counts.kept, counts.dropped) == (len(kept), len(dropped))
    assert counts.missing == sum((acknowledged[t] - arrived[t]).total() for t in kept)
    assert counts.repeated == sum((arrived[t] - sent[t]).total() for t in kept)
    assert counts.leaked == sum(arrived[t].total() for t in dropped)
    assert counts.unfounded == sum(c.total() for t, c in arrived.items() if t not in verdicts)
    assert (counts.alien, counts.foreign) == (alien, foreign)
    assert counts.decided_twice == sum(n - 1 for n in decisions.values())
    assert known == sum(c.total() for c in arrived.values())
    assert (account.estimate, account.variance) == (4.0 * len(kept), 12.0 * len(kept))
    assert account.policies.total() == len(verdicts)


def test_each_thing_that_is_off_has_its_words():
    account = SampledTraces(settled_max=1000)
    for trace in (1, 2, 3):
        account.sent(ids(trace, 1, 2))
        account.acknowledged(ids(trace, 1, 2))
    account.decided(b"\1" * 16, KEPT)
    account.decided(b"\1" * 16, KEPT)
    account.decided(b"\2" * 16, DROPPED)
    account.decided(b"\7" * 16, DROPPED)
    account.arrived(ids(1, 1, 1, 9))
    account.arrived(ids(2, 1))
    account.arrived(ids(3, 1))
    assert set(account.counts.off.values()) == {1}
    assert len(account.counts.off) == 8, "one of each"


def test_memory_is_bounded_and_what_is_not_settled_is_never_forgotten():
    account = SampledTraces(settled_max=20)
    for trace in (201, 202):  # never decided; never whole
        account.sent(ids(trace, 1, 2))
        account.acknowledged(ids(trace, 1, 2))
    account.decided(bytes([202]) * 16, KEPT)
    for trace in range(1, 100):
        account.sent(ids(trace, 1, 2))
        account.acknowledged(ids(trace, 1, 2))
        account.decided(bytes([trace]) * 16, KEPT if trace % 2 else DROPPED)
        if trace % 2:
            account.arrived(ids(trace, 1, 2))
    assert account.remembered <= 20 + 3 + 3
    assert account.forgotten > 80
    account.arrived(ids(98, 1))
    account.arrived(ids(99, 1))
    assert set(account.counts.off.values()) == {1, 2}
    assert (account.counts.leaked, account.counts.repeated) == (1, 1)
    assert (account.counts.undecided, account.counts.missing) == (1, 2)
    account.decided(bytes([201]) * 16, DROPPED)
    account.arrived(ids(202, 1, 2))
    assert (account.counts.undecided, account.counts.missing) == (0, 0)


def test_a_dropped_trace_that_goes_on_stays_dropped():
    account = SampledTraces(settled_max=100)
    account.sent(ids(1, 1))
    account.acknowledged(ids(1, 1))
    account.decided(b"\1" * 16, DROPPED)
    account.sent(ids(1, 2))
    account.acknowledged(ids(1, 2))
    assert account.counts.off == {}
    account.arrived(ids(1, 2))
    assert account.counts.leaked == 1


def test_faults_are_followed_to_their_verdicts():
    account = SampledTraces(settled_max=100)
    account.mark("errors", [b"\1" * 16, b"\2" * 16])
    account.mark("latency", [b"\1" * 16])
    for trace, verdict in ((1, KEPT), (2, DROPPED), (3, KEPT)):
        account.sent(ids(trace, 1))
        account.decided(bytes([trace]) * 16, verdict)
    assert account.injected == {
        ("errors", True): 1, ("errors", False): 1, ("latency", True): 1,
    }  # fmt: skip
    account.sent(ids(4, 1))
    account.decided(b"\4" * 16, Verdict(True, "limit", None))
    assert (account.estimate, account.uncountable) == (8.0, 1)


async def test_the_ledger_judges_spans_by_verdicts_and_the_rest_as_sets():
    ledger = Ledger(settled_max=100, sampled=True)
    for step in (ledger.sent, ledger.acknowledged):
        step(Signal.TRACES, request_of(1, 2))
    assert (ledger.missing, ledger.undecided) == (0, 1)
    assert not ledger.agree
    ledger.decided(b"\1" * 16, KEPT)
    assert ledger.missing == 2
    ledger.arrived(Signal.TRACES, request_of(1, 2))
    await ledger.nothing_missing()
    assert ledger.agree
    assert set(ledger.plain) == {Signal.METRICS, Signal.LOGS}
    ledger.sent(Signal.TRACES, request_of(3))
    assert not ledger.agree, "sent and not acknowledged"
    with pytest.raises(RuntimeError):
        Ledger(settled_max=100).decided(b"\1" * 16, KEPT)
