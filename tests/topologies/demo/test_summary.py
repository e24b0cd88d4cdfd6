"""The end of a demonstration in words: what is off is said, and nothing else."""

import json

from schemas.signals import Signal
from topologies.demo.ledger import Ledger
from topologies.demo.sampled import Verdict
from topologies.demo.seen import Seen
from topologies.demo.summary import mistaken, problems, summarise

from .test_ledger import request_of

NOTHING = Seen.of(None, 0, 0, None, None)


def run_of(*, kept: bool) -> Ledger:
    ledger = Ledger(100, sampled=True)
    for step in (ledger.sent, ledger.acknowledged):
        step(Signal.TRACES, request_of(1, 2))
    ledger.decided(b"\1" * 16, Verdict(kept, "budget", 4.0 if kept else None))
    return ledger


def test_a_run_without_fault_has_no_problems():
    ledger = run_of(kept=True)
    ledger.arrived(Signal.TRACES, request_of(1, 2))
    assert problems(ledger, may_repeat=False) == []
    assert problems(run_of(kept=False), may_repeat=False) == []


def test_what_is_off_is_said():
    ledger = run_of(kept=True)
    ledger.arrived(Signal.TRACES, request_of(1))
    ledger.sent(Signal.TRACES, request_of(5))
    assert problems(ledger, may_repeat=False) == [
        "traces: 1 items sent and not acknowledged",
        "traces: 1 spans of kept traces acknowledged and not exported",
    ]
    leaked = run_of(kept=False)
    leaked.arrived(Signal.TRACES, request_of(1))
    assert problems(leaked, may_repeat=True) == [
        "traces: 1 spans exported of traces that were dropped"
    ]


def test_repeats_need_a_reason():
    ledger = run_of(kept=True)
    ledger.arrived(Signal.TRACES, request_of(1, 2, 2))
    assert len(problems(ledger, may_repeat=False)) == 1
    assert problems(ledger, may_repeat=True) == []


def test_a_trace_may_be_taken_for_a_dropped_one_where_the_workers_say_so():
    ledger = Ledger(100, sampled=True)
    for step in (ledger.sent, ledger.acknowledged):
        step(Signal.TRACES, request_of(1, 2))
    assert mistaken(ledger, late_dropped=2) == 1
    assert problems(ledger, may_repeat=False, mistaken=1) == []
    assert mistaken(ledger, late_dropped=1) == 0, "not counted: it is lost"
    assert len(problems(ledger, may_repeat=False, mistaken=0)) == 1
    ledger.arrived(Signal.TRACES, request_of(1))
    assert mistaken(ledger, late_dropped=2) == 0, "who drops a trace exports nothing of it"
    many = Ledger(100, sampled=True)
    for trace in range(1, 4):
        for step in (many.sent, many.acknowledged):
            step(Signal.TRACES, request_of(1).replace(b"\1" * 16, bytes([trace]) * 16))
    assert mistaken(many, late_dropped=3) == 0, "a filter that errs so often is broken"


def test_the_summary_for_people_and_for_programs(capsys):
    ledger = run_of(kept=True)
    ledger.arrived(Signal.TRACES, request_of(1, 2))
    result = {"agree": True, "restarts": {}, "problems": [], "mistaken": 0}
    summarise(ledger, dict(result), NOTHING, as_json=False)
    text = capsys.readouterr().out
    assert "1 traces sent, 1 kept with 2 spans, 0 dropped." in text
    assert "one would count 4 traces, give or take 3." in text
    assert "Every kept trace arrived complete and once" in text
    summarise(ledger, dict(result), NOTHING, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["sampling"]["policies"] == {"budget": {"kept": 1, "dropped": 0}}
    assert found["sampling"]["missing"] == 0
    ledger.arrived(Signal.TRACES, request_of(2))
    said = problems(ledger, may_repeat=False)
    summarise(ledger, {**result, "agree": False, "problems": said}, NOTHING, as_json=False)
    text = capsys.readouterr().out
    assert "exported more than once" in text
    assert "complete and once" not in text
