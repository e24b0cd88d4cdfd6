"""The bound on bytes in flight."""

from __future__ import annotations

import pytest

from schemas.errors import MessageTooLarge, Overloaded
from streams.edges.receivers import Admission


def test_reserves_grows_shrinks_and_gives_back() -> None:
    admission = Admission(100)
    with admission.reservation() as one, admission.reservation() as other:
        one.grow(40)
        other.grow(60)
        assert admission.inflight_bytes == 100
        with pytest.raises(Overloaded):
            one.grow(1)
        other.shrink(10)
        one.grow(10)
        assert (one.size_bytes, other.size_bytes, admission.inflight_bytes) == (50, 50, 100)
    assert admission.inflight_bytes == 0
    assert admission.peak_bytes == 100


def test_refusal_carries_the_hint_and_is_counted() -> None:
    admission = Admission(10, retry_after_s=3.0)
    with admission.reservation() as one, admission.reservation() as other:
        one.grow(8)
        with pytest.raises(Overloaded) as raised:
            other.grow(8)
    assert raised.value.retry_after_s == 3.0
    assert admission.refused == 1


def test_a_request_that_can_never_fit_is_told_so() -> None:
    admission = Admission(10)
    with admission.reservation() as one:
        one.grow(6)
        with pytest.raises(MessageTooLarge, match=r"ingest\.inflight_max"):
            one.grow(5)
    assert admission.refused == 0


def test_health_returns_once_half_is_free() -> None:
    admission = Admission(100)
    assert admission.healthy
    with admission.reservation() as one:
        one.grow(90)
        assert admission.healthy
        with admission.reservation() as other, pytest.raises(Overloaded):
            other.grow(20)
        assert not admission.healthy
        one.shrink(39)
        assert not admission.healthy
        one.shrink(1)
        assert admission.healthy


def test_a_large_request_refused_while_little_is_in_flight_is_no_illness() -> None:
    admission = Admission(100)
    with admission.reservation() as one, admission.reservation() as large:
        one.grow(20)
        with pytest.raises(Overloaded):
            large.grow(95)
        assert admission.healthy
