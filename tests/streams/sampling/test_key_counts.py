"""Counts by sampling key."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from streams.sampling.key_counts import OTHER, KeyCount, KeyCounts

Rows = list[tuple[int, int, int, float]]


class Asked:
    """Texts, and for which keys they were asked."""

    def __init__(self) -> None:
        self.keys: list[int] = []

    def add(self, counts: KeyCounts, rows: Rows) -> None:
        keys = [key for key, *_ in rows]
        columns = np.array([row[1:] for row in rows], np.float64).T

        def texts(groups: NDArray[np.intp]) -> list[str]:
            self.keys += [keys[group] for group in groups]
            return [f"key={keys[group]}" for group in groups]

        counts.add(np.array(keys, np.uint64), *columns, texts)


def test_the_first_keys_have_counts_of_their_own_and_the_others_have_them_together() -> None:
    counts, asked = KeyCounts(2), Asked()
    asked.add(counts, [(7, 1, 0, 4.0), (7, 0, 2, 0.0), (8, 0, 1, 0.0), (9, 1, 1, 2.5)])
    asked.add(counts, [(9, 1, 0, 2.5), (8, 3, 0, 3.0)])
    assert [*counts.items()] == [
        ("key=7", KeyCount(1, 2, 4.0)),
        ("key=8", KeyCount(3, 1, 3.0)),
        (OTHER, KeyCount(2, 1, 5.0)),
    ]
    assert counts["key=8"].kept == 3
    assert asked.keys == [7, 8], "a text costs more than all else"


def test_counts_are_those_of_a_dictionary() -> None:
    rng = np.random.default_rng(4)
    counts, asked = KeyCounts(50), Asked()
    expected: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for _ in range(40):
        rows = [
            (int(key), int(kept), int(dropped), 0.0)
            for key, kept, dropped in rng.integers(1, 40, (30, 3))
        ]
        for key, kept, dropped, _ in rows:
            expected[key][0] += kept
            expected[key][1] += dropped
        asked.add(counts, rows)
    assert {text: [n.kept, n.dropped] for text, n in counts.items()} == {
        f"key={key}": both for key, both in expected.items()
    }


def test_no_key_may_have_counts_of_its_own() -> None:
    counts, asked = KeyCounts(0), Asked()
    assert [*counts.items()] == []
    asked.add(counts, [(7, 1, 0, 1.0), (8, 0, 1, 0.0)])
    assert [*counts.items()] == [(OTHER, KeyCount(1, 1, 1.0))]
    assert not asked.keys


def test_keys_that_read_the_same_are_counted_as_one() -> None:
    """Two lines of a metric with the same labels would make a scrape invalid."""
    counts = KeyCounts(5)
    ones = np.ones(2)
    counts.add(np.array([1, 2], np.uint64), ones, ones, ones, lambda groups: ["same"] * len(groups))
    assert [*counts.items()] == [("same", KeyCount(2, 2, 2.0))]
