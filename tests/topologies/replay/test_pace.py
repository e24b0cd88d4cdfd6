"""When requests are due and where laps lie in time."""

from collections import Counter

import numpy as np
import pytest

from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.recording.layout import Layout
from topologies.replay import Frame, Pace, Recording

NONE = np.array([], np.int64)


def recording(*times_s: float) -> Recording:
    frames = tuple(
        Frame(Signal.TRACES, b"", Layout(NONE, NONE, NONE, 10, 0, int(at * 1e9))) for at in times_s
    )
    frames += (Frame(Signal.LOGS, b"", Layout(NONE, NONE, NONE, 7, 0, int(times_s[-1] * 1e9))),)
    items = Counter({Signal.TRACES: 10 * len(times_s), Signal.LOGS: 7})
    return Recording(frames, (), int(times_s[0] * 1e9), int(times_s[-1] * 1e9), items)


THREE = recording(100, 101, 104)


@pytest.mark.parametrize(
    ("pace", "due", "lap_s"),
    [
        (Pace(), [0, 1, 4, 4], 5),
        (Pace(2.0), [0, 0.5, 2, 2], 2.5),
        (Pace(None, 20), [0, 0.5, 1, 1.5], 1.5),
        (Pace(None, None), [0, 0, 0, 0], 0),
    ],
)
def test_schedule(pace, due, lap_s):
    assert [at for at, _ in pace.schedule(THREE)] == due
    assert pace.lap_s(THREE) == lap_s


@pytest.mark.parametrize("pace", [Pace(), Pace(2.0), Pace(0.5), Pace(None, 20), Pace(None, None)])
def test_nothing_comes_from_the_future_and_the_slow_are_not_late(pace):
    now_ns = 10**18
    shift = pace.shift_to_ns(THREE, now_ns)
    late = []
    for due_s, frame in pace.schedule(THREE):
        late.append(now_ns + round(due_s * 1e9) - (frame.layout.latest_ns + shift))
    assert min(late) == 0
    if pace == Pace():
        assert THREE.begin_ns + shift == now_ns


def test_without_spans_a_rate_counts_everything():
    logs = THREE._replace(frames=THREE.frames[-1:], items=Counter({Signal.LOGS: 7}))
    assert Pace(None, 7).lap_s(logs) == 1


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "inf", "nan"])
def test_wrong_speeds(speed):
    with pytest.raises(ConfigurationError, match="speed"):
        Pace.parse(speed)


def test_right_ones():
    assert Pace.parse("max") == Pace(None, None)
    assert Pace.parse("10") == Pace(10.0)
    assert Pace.parse("1", 500.0) == Pace(None, 500.0)
    with pytest.raises(ConfigurationError, match="rate"):
        Pace.parse("1", 0)
