"""Thresholds are those of the specification's examples, and say what was done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sampling.consistent import (
    MAX,
    PROBABILITY_MIN,
    UNKNOWN,
    adjusted_count,
    decode,
    encode,
    probability,
    randomness,
    threshold,
)

bounded = settings(max_examples=200, deadline=None, derandomize=True)
probabilities = st.one_of(
    st.floats(0, 1, exclude_min=True),
    st.integers(1, 10**18).map(lambda n: 1 / n),
    st.integers(0, 56).map(lambda k: 2.0**-k),
)

# "Converting floating-point probability to threshold value": 1 in N; th at precision 3, 4, 5;
# the exact adjusted counts.
TABLE = [
    (1, "0 0 0", (1, 1, 1)),
    (2, "8 8 8", (2, 2, 2)),
    (3, "aab aaab aaaab", (3.0007326007326007, 3.00004577706569, 3.0000028610256777)),
    (4, "c c c", (4, 4, 4)),
    (5, "ccd cccd ccccd", (5.001221001221001, 5.0000762951094835, 5.0000047683761295)),
    (8, "e e e", (8, 8, 8)),
    (10, "e66 e666 e6666", (9.990243902439024, 9.99938968568813, 9.999961853172863)),
    (16, "f f f", (16, 16, 16)),
    (100, "fd71 fd70a fd70a4", (100.05496183206107, 99.99771123402633, 100.00009536752259)),
    (1000, "ffbe7 ffbe77 ffbe76d", (999.5958055290753, 1000.012874769029, 1000.0016987352618)),
    (10**4, "fff972 fff9724 fff97247", (9998.340882002383, 9999.830725674266, 9999.99370426336)),
    (
        10**5,
        "ffff584 ffff583a ffff583a5",
        (100013.21013412817, 99999.238556461, 99999.96614643588),
    ),
    (
        10**6,
        "ffffef4 ffffef39 ffffef391",
        (1.0016248358208955e06, 999992.38556461, 1.0000069374699865e06),
    ),
]


@pytest.mark.parametrize(("n", "texts", "counts"), TABLE)
def test_the_table_of_the_specification(
    n: int, texts: str, counts: tuple[float, float, float]
) -> None:
    for precision, text, count in zip((3, 4, 5), texts.split(), counts, strict=True):
        t = threshold(1 / n, precision)
        assert encode(t) == text
        assert decode(text) == t
        assert adjusted_count(t) == pytest.approx(count, rel=1e-12)
        assert probability(t) == pytest.approx(1 / count, rel=1e-12)


def test_other_examples_of_the_specification() -> None:
    assert decode("c") == 0xC0000000000000
    assert probability(decode("c")) == 0.25
    assert threshold(0.01, 5) == 71337018784743424
    # The trace id of "Trace Context": its last 7 bytes.
    assert randomness(0xA3CE929D0E0E4736) == 0xCE929D0E0E4736


@bounded
@given(probabilities)
def test_what_is_written_is_close_to_what_was_asked_for(p: float) -> None:
    t = threshold(p)
    assert 0 <= t < MAX
    exact = max(p, PROBABILITY_MIN)
    assert probability(t) == pytest.approx(exact, rel=2**-13)
    assert decode(encode(t)) == t
    assert len(encode(t)) <= 4 + (len(encode(t)) - len(encode(t).lstrip("f"))) + 1
    assert adjusted_count(t) * probability(t) == pytest.approx(1)
    if p <= 1 / 16:  # enough digits even where nothing can be rounded off
        assert probability(threshold(p, 14)) == pytest.approx(exact, abs=2**-57)


@bounded
@given(st.lists(probabilities, min_size=1, max_size=20), st.integers(1, 14))
def test_arrays_hold_what_single_numbers_give(ps: list[float], precision: int) -> None:
    array = threshold(np.array(ps), precision)
    assert array.dtype == np.uint64
    assert array.tolist() == [threshold(p, precision) for p in ps]
    assert probability(array).tolist() == [probability(int(t)) for t in array]
    assert adjusted_count(array).tolist() == [adjusted_count(int(t)) for t in array]
    assert randomness(array).tolist() == array.tolist()


@bounded
@given(st.lists(probabilities, min_size=2, max_size=20))
def test_a_greater_probability_never_has_a_greater_threshold(ps: list[float]) -> None:
    thresholds = threshold(np.sort(np.array(ps)))
    assert (thresholds[:-1] >= thresholds[1:]).all()


def test_the_least_probability_and_what_is_below() -> None:
    assert threshold(PROBABILITY_MIN) == MAX - 1
    assert threshold(PROBABILITY_MIN / 1000) == MAX - 1
    assert encode(MAX - 1) == "f" * 14
    assert threshold(1 - 2**-18) == 0
    assert encode(threshold(1 - 2**-16)) == "0001"


@pytest.mark.parametrize("p", [0.0, -0.1, 1.0000001, float("nan"), float("inf")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        threshold(p)
    with pytest.raises(ValueError, match=f"not {p}"):
        threshold(np.array([0.5, p]))


def test_a_precision_that_no_threshold_has_is_refused() -> None:
    for precision in (0, 15):
        with pytest.raises(ValueError, match="precision"):
            threshold(0.5, precision)


@pytest.mark.parametrize("text", ["", "0" * 15, "C", "0x8", "g", "8 ", "-1", "８", "1_0"])
def test_a_text_that_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1 to 14 lower-case"):
        decode(text)


def test_texts_with_zeros_at_the_end_are_read() -> None:
    assert decode("800") == decode("8") == MAX // 2
    assert decode("0" * 14) == 0


@bounded
@given(st.integers(0, MAX - 1))
def test_every_threshold_survives_its_text(t: int) -> None:
    text = encode(t)
    assert decode(text) == t
    assert text == "0" or not text.endswith("0")
    assert int(text.ljust(14, "0"), 16) == t


def test_unknown_is_no_number_to_calculate_with() -> None:
    for t in (UNKNOWN, MAX, -1):
        with pytest.raises(ValueError, match="below 2"):
            encode(t)
        assert np.isnan(probability(t))
        assert np.isnan(adjusted_count(t))
    array = np.array([0, UNKNOWN], np.uint64)
    assert np.isnan(probability(array)).tolist() == [False, True]
    assert np.isnan(adjusted_count(array)).tolist() == [False, True]
    assert array.max() == UNKNOWN
