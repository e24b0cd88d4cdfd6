"""All detectors pass the battery."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.anomaly.detection import Detection
from tests.streams.anomaly.battery import ALL, Case
from tests.streams.anomaly.cases import CASES


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", CASES)
def test_battery(name: str, check: Callable[[Case], None]) -> None:
    check(CASES[name])


def test_no_detector_is_left_out() -> None:
    assert {*Detection().names, "forest"} == CASES.keys()
