"""The example of a consumer, as a user starts it."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer

from tests.alert_events import event, publish

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "alerts_consumer.py"
AT = datetime(2030, 1, 31, 8, tzinfo=UTC)
LABELS = "alertname=HighErrorRatio severity=critical service="


async def lines(bootstrap: str, topic: str, group: str, count: int) -> list[str]:
    """The first lines that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), bootstrap, topic, group,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        # Whoever runs in the background of a shell ignores it, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            return [(await process.stdout.readline()).decode().strip() for _ in range(count)]
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


async def test_it_prints_each_transition_and_goes_on_where_it_was(
    bootstrap: str, topic: str, group: str
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(topic, b"something else")
    await publish(bootstrap, [topic], [event("cart", at=AT), event("cart", "resolved", AT)])
    first = await lines(bootstrap, topic, group, 2)
    assert first == [
        f"2030-01-31T08:00:00Z firing {LABELS}cart cart fails",
        f"2030-01-31T08:00:00Z resolved {LABELS}cart cart fails",
    ]
    await publish(bootstrap, [topic], [event("pay", at=AT)])
    # The last one may have been printed and not committed.
    more = await lines(bootstrap, topic, group, 1)
    assert more[0] in {f"2030-01-31T08:00:00Z firing {LABELS}pay pay fails", first[1]}
