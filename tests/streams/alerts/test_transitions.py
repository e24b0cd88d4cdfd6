"""When alerts begin and end, where that is not a matter of the rule alone."""

from __future__ import annotations

from typing import Any

from tests.operators.detecting import ERRORS, MANY, alerts, detect

from .hosting import Host, requests


def host(*rules: dict[str, Any]) -> Host:
    return Host(lambda counts: detect(alerts(*rules), counts=counts))


def test_windows_that_are_as_long_as_no_data_after_are_no_silence() -> None:
    on = {"window": "spans", "length": "1m", "statistic": "error_ratio"}
    rule = {**ERRORS, "on": on, "for": "2m", "no_data_after": "1m"}
    h = host(rule)
    for _ in range(5):
        h.window(requests("cart", errors=1), length_ms=60_000)
    assert [e.state for e in h.states()] == ["pending", "firing"]
    h.number += 1  # one that is missing
    h.window(requests("cart", errors=1), length_ms=60_000)
    h.window(requests("other"), length_ms=60_000)
    assert [e.state for e in h.states()] == ["pending", "firing", "no_data"]


def test_two_series_with_equal_labels_are_one_alert() -> None:
    h = host({**MANY, "at_least": None})

    def window(*counts: int) -> list[str]:
        groups = [
            requests("cart", [0.1] * count, k=value)  # type: ignore[arg-type]
            for value, count in zip((1, "1"), counts, strict=True)
        ]
        return [e.state for e in h.window(*groups)]

    assert window(5, 5) == ["firing"]
    assert window(5, 1) == []
    assert window(1, 5) == ["resolved", "firing"]
    assert window(1, 1) == ["resolved"]
    assert len({e.id for e in h.states()}) == 4
