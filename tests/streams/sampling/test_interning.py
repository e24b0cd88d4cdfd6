"""Readable texts of hashes, and lags by hash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sampling.interning import Interned
from streams.sampling.root_lags import RootLags

hashes = st.one_of(st.integers(0, 9), st.integers(1, 9).map(lambda n: n << 60))


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.lists(hashes, max_size=12), max_size=12), st.integers(1, 12))
def test_each_hash_is_asked_for_once_while_there_is_room(
    batches: list[list[int]], most: int
) -> None:
    texts = Interned(most)
    plain: dict[int, str] = {}
    overflowed = 0
    for batch in batches:
        new = [h for h in dict.fromkeys(batch) if h and h not in plain]
        room = most - len(plain)
        found = texts.unknown(np.array(batch, np.uint64))
        assert found.tolist() == [batch.index(h) for h in new[:room]]
        overflowed += max(0, len(new) - room)
        assert texts.overflowed == overflowed
        for at in found.tolist():
            texts.add(batch[at], f"text {batch[at]}")
            texts.add(batch[at], "another")
            plain[batch[at]] = f"text {batch[at]}"
    assert list(texts.items()) == sorted(plain.items())
    assert len(texts) == len(plain)
    for hashed in range(10):
        expected = plain.get(hashed, f"{hashed:016x}") if hashed else ""
        assert texts.text(hashed) == expected


def test_long_texts_are_cut_and_still_differ() -> None:
    texts = Interned(10)
    for hashed in (1, 2):
        texts.add(hashed, "é" * 500_000)
    texts.add(3, "x" * 200)
    held = [texts.text(hashed) for hashed in (1, 2, 3)]
    assert [len(text) for text in held] == [200, 200, 200]
    assert len(set(held)) == 3
    assert held[2] == "x" * 200


def test_a_text_may_be_empty_and_zero_has_none() -> None:
    texts = Interned(2)
    texts.add(5, "")
    texts.add(0, "nothing")
    assert [texts.text(h) for h in (5, 0, (1 << 64) - 1)] == ["", "", "f" * 16]
    texts.add(6, "six")
    texts.add(7, "seven")
    assert (texts.text(7), texts.overflowed, len(texts)) == ("0000000000000007", 1, 2)


def test_hashes_not_in_one_piece() -> None:
    column = np.arange(20, dtype=np.uint64)[::2]
    column.flags.writeable = False
    assert Interned(100).unknown(column).tolist() == list(range(1, 10))


@settings(max_examples=100, derandomize=True)
@given(
    st.lists(st.dictionaries(hashes, st.integers(-5, 10**6), max_size=8), max_size=6),
    st.integers(1, 12),
)
def test_lags_are_a_bounded_dictionary(updates: list[dict[int, int]], most: int) -> None:
    lags = RootLags(most)
    plain: dict[int, int] = {}
    refused = 0
    for update in updates:
        lags.set(np.array(list(update), np.uint64), np.array(list(update.values()), np.int64))
        for operation, lag in update.items():
            if operation and (operation in plain or len(plain) < most):
                plain[operation] = max(lag, 0)
            else:
                refused += operation != 0
        assert len(lags) == len(plain)
        assert lags.refused == refused
    keys = [*range(10), *(n << 60 for n in range(1, 10))]
    assert {k: lags.get(k) for k in keys} == {k: plain.get(k) for k in keys}
    lags.clear()
    assert len(lags) == 0
    assert {lags.get(k) for k in keys} == {None}


def test_settings_that_make_no_sense() -> None:
    for kind in (Interned, RootLags):
        with pytest.raises(ValueError, match="most"):
            kind(0)
    with pytest.raises(ValueError, match="2 lags"):
        RootLags().set(np.ones(1, np.uint64), np.ones(2, np.int64))
