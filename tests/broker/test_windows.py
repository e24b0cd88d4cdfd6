"""From spans, logs and points to windows and alerts, while workers are killed and stand still."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from topologies.localkafka import LocalKafka

from .chaos_sampling import BROKER_SETTINGS
from .chaos_windows import FROZEN_S, WindowsChaos
from .windows_oracle import Messages, Topics, check

SEED = 20261124


def _without(messages: Messages, which: Callable[[object], bool]) -> Messages:
    """All but the first such message of the last partition that has one."""
    found = {partition: list(records) for partition, records in messages.items()}
    for partition in sorted(found, reverse=True):
        for index, record in enumerate(found[partition]):
            if which(record):
                del found[partition][index]
                return found
    raise AssertionError("there is no such message")


def _twice(messages: Messages) -> Messages:
    found = defaultdict(list, {partition: list(r) for partition, r in messages.items()})
    last = max(found)
    found[last].append(found[last][0])
    return found


def _groups(record: object) -> bool:
    headers = dict(record.headers)  # type: ignore[attr-defined]
    return "window.closed" not in headers and b"closer" not in record.value  # type: ignore[attr-defined]


TAMPERINGS: dict[str, tuple[str, Callable[[Topics], Topics]]] = {
    "a window is lost": ("must be", lambda t: replace(t, windows=_without(t.windows, _groups))),
    "a window is told twice": (
        "twice|is closed at", lambda t: replace(t, windows=_twice(t.windows)),
    ),
    "a span is lost": ("must be", lambda t: replace(t, spans=_without(t.spans, lambda _: True))),
    "a log record counts twice": ("must be", lambda t: replace(t, logs=_twice(t.logs))),
    "a transition is lost": (
        "alerts: .*lost", lambda t: replace(t, alerts=_without(t.alerts, lambda _: True)),
    ),
    "a transition is told twice": (
        "alerts: .*twice", lambda t: replace(t, alerts=_twice(t.alerts)),
    ),
    "an export is lost": ("export", lambda t: replace(t, out={})),
}  # fmt: skip


@pytest.mark.timeout(240)
async def test_windows_and_alerts_are_exact_whatever_happens_to_workers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    with LocalKafka(tmp_path / "kafka", keep=False, settings=BROKER_SETTINGS) as broker:
        chaos = WindowsChaos(
            broker, tmp_path, SEED, sampling=False, broker_killed=False, together=True
        )

        async def happens() -> None:
            chaos.hit(signal.SIGKILL, 0)
            await asyncio.sleep(5)
            chaos.hit(signal.SIGSTOP, 1)  # the others take over; these wake up as zombies
            await asyncio.sleep(FROZEN_S)
            chaos.hit(signal.SIGCONT, 1)
            await asyncio.sleep(2)

        figures = await chaos.during(happens)
    print(f"seed {SEED}", json.dumps(figures, indent=2))
    assert figures["windows"] > 500
    assert figures["transitions"] > 50
    assert figures["exits"]["-9"] == len(chaos.workers)
    assert chaos.topics is not None
    for what, (said, tamper) in TAMPERINGS.items():
        with pytest.raises(AssertionError, match=said):
            check(tamper(chaos.topics), chaos.config)
        print(f"would have been found: {what}")
