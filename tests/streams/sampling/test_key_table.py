"""Grouping and the table of keys, against Python's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sampling.grouping import EMPTY, distinct, mixed
from streams.sampling.key_table import KeyTable

FEW = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=60)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(FEW)
def test_groups_are_those_of_a_dictionary(values: list[int]) -> None:
    inverse, first = distinct(np.array(values, np.uint64))
    order = list(dict.fromkeys(values))
    assert [values[i] for i in first] == order
    assert [order[g] for g in inverse] == values


def test_hashes_that_want_one_place_are_told_apart() -> None:
    values = np.arange(3000, dtype=np.uint64) << np.uint64(40)  # the upper bits alone differ
    inverse, first = distinct(values)
    assert (inverse == np.arange(3000)).all()
    assert (first == np.arange(3000)).all()


def test_order_matters_to_a_mixed_hash() -> None:
    one, other = np.array([1], np.uint64), np.array([2], np.uint64)
    assert mixed(one, other) != mixed(other, one)
    assert mixed(one, np.array([0], np.uint64)) != mixed(np.array([0], np.uint64), one)


class Plain:
    """The same by hand."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows: dict[int, tuple[int, float]] = {}

    def place(self, keys: list[int], now_ms: int) -> list[bool]:
        for key in keys:
            if key in self.rows:
                self.rows[key] = (now_ms, self.rows[key][1])
        new = [key for key in keys if key not in self.rows]
        over = len(self.rows) + len(new) - self.most
        if new and over > 0:
            count = min(len(self.rows) - (len(keys) - len(new)), max(over, self.most // 8))
            oldest = sorted(self.rows, key=lambda k: (self.rows[k][0], k))[:count]
            for key in oldest:
                if self.rows[key][0] != now_ms:
                    del self.rows[key]
        for key in new[: self.most - len(self.rows)]:
            self.rows[key] = (now_ms, 0.0)
        return [key in self.rows for key in keys]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 40), max_size=12)), max_size=30),
)
def test_a_table_is_a_dictionary_that_forgets(most: int, calls: list[tuple[int, set[int]]]) -> None:
    table, plain, now_ms = KeyTable(most, {"value": "f8"}), Plain(most), 0
    for passed, keys in calls:
        now_ms += passed
        given_keys = np.array(sorted(keys), np.uint64)
        rows = table.place(given_keys, now_ms)
        assert (rows != EMPTY).tolist() == plain.place(sorted(keys), now_ms)
        placed = rows[rows != EMPTY]
        table["value"][placed] += 1
        for key, row in zip(sorted(keys), rows.tolist(), strict=True):
            if row != EMPTY:
                plain.rows[key] = (now_ms, plain.rows[key][1] + 1)
        dumped = table.dump()
        found = zip(dumped["key"], dumped["seen_ms"], dumped["value"], strict=True)
        assert {int(k): (int(s), float(v)) for k, s, v in found} == plain.rows
        other = KeyTable(most, {"value": "f8"})
        other.load(dumped)
        again = other.dump()
        assert all((again[name] == dumped[name]).all() for name in dumped)


def test_more_keys_than_room_are_counted() -> None:
    table = KeyTable(10, {"value": "f4"})
    rows = table.place(np.arange(25, dtype=np.uint64), 0)
    assert (rows != EMPTY).sum() == 10
    assert table.forgotten == 15
    table.place(np.arange(100, 105, dtype=np.uint64), 1)
    assert table.forgotten == 20
    assert len(table) == 10


def test_a_larger_table_fits_into_a_smaller_one_with_its_newest() -> None:
    table = KeyTable(1000, {"value": "f4"})
    for now_ms in range(10):
        rows = table.place(np.arange(100 * now_ms, 100 * now_ms + 100, dtype=np.uint64), now_ms)
        table["value"][rows] = now_ms
    small = KeyTable(150, {"value": "f4", "another": "f4"})
    small.load(table.dump())
    assert len(small) == 150
    assert set(small.keys.tolist()) >= set(range(900, 1000))
    assert small["value"][small.find(np.array([950], np.uint64))] == 9
