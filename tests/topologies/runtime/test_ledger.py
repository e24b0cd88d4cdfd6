"""The ledger against a model: the set of everything delivered and finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from topologies.runtime.ledger import Ledger


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.delivered: list[int] = []
        self.finished: set[int] = set()

    @rule(gap=st.integers(1, 5))
    def deliver(self, gap: int) -> None:
        """Offsets rise, with gaps: transaction markers, compaction."""
        offset = self.delivered[-1] + gap if self.delivered else gap + 100
        assert self.ledger.deliver(offset)
        self.delivered.append(offset)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        assert not self.ledger.deliver(data.draw(st.sampled_from(self.delivered)))

    @precondition(lambda self: set(self.delivered) - self.finished)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(set(self.delivered) - self.finished)))
        self.ledger.finish(offset)
        self.finished.add(offset)

    @precondition(lambda self: self.finished)
    @rule(data=st.data())
    def finish_twice(self, data: st.DataObject) -> None:
        with pytest.raises(ValueError, match="not under way"):
            self.ledger.finish(data.draw(st.sampled_from(sorted(self.finished))))

    @invariant()
    def committable_is_the_first_unfinished(self) -> None:
        unfinished = [offset for offset in self.delivered if offset not in self.finished]
        if not self.delivered or unfinished[:1] == self.delivered[:1]:
            assert self.ledger.committable is None
        else:
            expected = unfinished[0] if unfinished else self.delivered[-1] + 1
            assert self.ledger.committable == expected == self.ledger.position
        if self.delivered:
            assert self.ledger.next_offset == self.delivered[-1] + 1
            first = self.delivered.index(unfinished[0]) if unfinished else len(self.delivered)
            assert self.ledger.span == len(self.delivered) - first


TestLedger = LedgerMachine.TestCase


@given(st.permutations(range(8)))
def test_never_past_an_unfinished_offset(order: list[int]) -> None:
    ledger = Ledger()
    for offset in range(8):
        ledger.deliver(offset)
    committed, left = 0, set(range(8))
    for offset in order:
        ledger.finish(offset)
        left.discard(offset)
        now = ledger.committable or 0
        assert committed <= now <= min(left, default=8)
        committed = now
    assert committed == 8


def test_closed_says_nothing_and_takes_nothing() -> None:
    ledger = Ledger()
    ledger.deliver(3)
    ledger.deliver(4)
    ledger.finish(3)
    assert ledger.committable == 4
    ledger.closed = True
    ledger.finish(4)
    assert ledger.committable is None
    assert ledger.position == 4
