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


def test_late_bodies_share_half_of_the_bound() -> None:
    admission = Admission(100, retry_after_s=3.0)
    with admission.reservation() as one, admission.reservation() as other:
        one.grow(10)
        one.late(at_least_bytes=30)
        assert (one.size_bytes, admission.inflight_bytes, admission.late_bytes) == (30, 30, 30)
        other.grow(15)
        other.late()
        assert admission.late_bytes == 45
        with pytest.raises(Overloaded, match="slow") as raised:
            other.grow(6)
        assert raised.value.retry_after_s == 3.0
        assert (other.size_bytes, admission.inflight_bytes, admission.late_bytes) == (15, 45, 45)
        with admission.reservation() as fast:
            fast.grow(50)  # does not count among them
            with pytest.raises(Overloaded, match="slow"):
                fast.late()
        one.shrink(5)
        other.arrived()
        assert admission.late_bytes == 25
        other.grow(40)
        assert admission.late_bytes == 25
    assert (admission.inflight_bytes, admission.late_bytes) == (0, 0)
    assert admission.healthy


def test_a_late_body_that_is_alone_may_be_larger_than_the_share() -> None:
    admission = Admission(100)
    with admission.reservation() as one, admission.reservation() as other:
        one.late(at_least_bytes=90)  # not known to be there: the share at most
        assert one.size_bytes == 50
        one.grow(20)  # known to be there
        other.grow(1)
        with pytest.raises(Overloaded, match="slow"):
            other.late()


def test_a_check_reserves_nothing() -> None:
    admission = Admission(100)
    with admission.reservation() as one, admission.reservation() as other:
        one.grow(60)
        other.check(40)
        with pytest.raises(Overloaded):
            other.check(41)
        with pytest.raises(MessageTooLarge):
            other.check(101)
        assert admission.inflight_bytes == 60
