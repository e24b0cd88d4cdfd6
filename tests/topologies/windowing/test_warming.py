"""Nothing is left to be compiled under the first messages: of partials, windows and detection."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio, random, sys
from numba.core.dispatcher import Dispatcher
from schemas.batches import Batch
from schemas.config import Config
from schemas.operators import Scanned
from schemas.signals import Signal
from streams import wire
from tests.broker.windows_traffic import WindowTraffic
from topologies.detection.warming import warm_up_detect
from topologies.windowing.warming import warm_up_windows

START_MS = 1_700_000_000_000
config = Config.model_validate({
    "windows": {"enabled": True, "rules": [
        {"name": "spans", "signal": "spans", "by": ["span.name"], "lengths": [10, 60]},
        {"name": "services", "signal": "spans", "lengths": [10], "export": False},
        {"name": "logs", "signal": "logs", "by": ["severity"], "lengths": [10, 60]},
        {"name": "requests", "signal": "metrics", "metric": "*", "lengths": [10]},
    ]},
    "alerts": {"enabled": True},
})
names = config.topics.names


def signatures():
    modules = [m for name, m in sys.modules.items() if name.startswith("streams.")]
    found = {id(f): f for m in modules for f in vars(m).values() if isinstance(f, Dispatcher)}
    return {
        f"{f.py_func.__module__}.{f.__name__} {signature}"
        for f in found.values() for signature in f.signatures
    }


class Recorder:
    def __init__(self):
        self.sent, self.now_ms = [], START_MS

    async def send(self, topic, value, partition, headers):
        self.sent.append((topic, value, tuple(headers), self.now_ms))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def traffic():
    recorder = Recorder()
    sender = WindowTraffic("", names, 1, random.Random(1))
    sender._producer = recorder
    for second in range(200):
        recorder.now_ms = START_MS + 1000 * second
        await sender._step(recorder.now_ms * 1_000_000)
    return recorder.sent


def messages(sent):
    from streams.windows.partials import Partials
    from streams.windows.records import decode
    from streams.windows.windows import Windows

    def windows():
        topics = {"spans": names.spans, "logs": names.logs, "metrics": names.metrics}
        return Windows(
            config.windows, topics=topics, output="w", export="o", partition=0, max_bytes=1 << 20
        )

    sources = {
        names.of(signal): (signal, Partials(
            config.windows, signal=signal, source=names.of(signal), partition=0, partitions=1,
            output="p", output_partitions=2,
        ))
        for signal in Signal
    }
    operator = windows()
    for offset, (topic, value, headers, now_ms) in enumerate(sent):
        signal, partials = sources[topic]
        batch = Batch(topic, 0, offset, now_ms, None, value, headers)
        said = partials.process(Scanned(batch, wire.scan(signal, value))).records
        for record in [*said, *partials.flush()]:
            batch = Batch("p", 0, offset, now_ms, None, record.value, ())
            outcome = operator.process(Scanned(batch, decode(record.value)))
            yield from ((each, now_ms) for each in outcome.records if each.topic == "w")
        if offset % 100 == 0:
            chunks = operator.snapshot()
            operator = windows()
            operator.restore(iter(chunks))


def detected(found):
    from streams.alerts.detect import Detect

    def detect():
        return Detect(
            config.alerts, config.windows, config.anomaly, alerts_topic="a", state_topic="s",
            partition=0,
        )

    operator, count = detect(), 0
    for offset, (record, now_ms) in enumerate(found):
        batch = Batch("w", 0, offset, now_ms, None, record.value, record.headers)
        operator.process(Scanned(batch, None))
        count += 1
        if offset % 30 == 0:
            chunks = operator.snapshot()
            operator = detect()
            operator.restore(iter(chunks))
    return count


sent = asyncio.run(traffic())
warm_up_windows(config)  # and partials before it
before = signatures()
found = list(messages(sent))
new = signatures() - before
assert before and not new, sorted(each for each in new)
warm_up_detect(config)
before = signatures()
assert detected(found) > 50
new = signatures() - before
assert not new, sorted(each for each in new)
"""


@pytest.mark.timeout(300)
def test_no_kernel_is_compiled_after_the_warm_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
