"""What is counted of numbers that only ever grow."""

from __future__ import annotations

from streams.sampling.counts import SampleCounts
from streams.sampling.tally import Tally


def test_what_a_replay_made_grow_is_not_counted() -> None:
    counts = SampleCounts(forgotten_keys=100)  # another partition's
    tally = Tally(counts)
    tally.ever(forgotten_keys=40, unread_thresholds=7)
    assert (counts.forgotten_keys, counts.unread_thresholds) == (100, 0)
    tally.ever(forgotten_keys=45, unread_thresholds=7)
    tally.ever(forgotten_keys=46, unread_thresholds=9)
    assert (counts.forgotten_keys, counts.unread_thresholds) == (106, 2)
