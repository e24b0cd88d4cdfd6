"""A minute of everything that can happen to two workers, on a real Kafka; see chaos_copies.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from topologies.localkafka import LocalKafka

from .chaos_copies import Chaos

SEED = 20261124
SECONDS = 60


@pytest.mark.timeout(300)
async def test_every_effect_is_there_once(broker: LocalKafka, tmp_path: Path) -> None:
    figures = await Chaos(broker, tmp_path, SEED).run(SECONDS)
    assert figures["messages"] > 1000
    assert sum(figures["faults"].values()) >= 8
