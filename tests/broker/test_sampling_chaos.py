"""Sampling through what can happen to its processes and its broker; see chaos_sampling.py."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from topologies.localkafka import LocalKafka

from .chaos_sampling import BROKER_SETTINGS, EACH, SamplingChaos
from .chaos_tampering import TAMPERINGS

SEED = 20261124
SECONDS = 45


@pytest.mark.timeout(240)
async def test_what_is_kept_is_complete_and_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")  # a broker that is killed is meant
    with LocalKafka(tmp_path / "kafka", keep=False, settings=BROKER_SETTINGS) as broker:
        chaos = SamplingChaos(broker, tmp_path, SEED, first=EACH)
        figures = await chaos.run(SECONDS)
    print(f"seed {SEED}", json.dumps(figures, indent=2))
    assert figures["faults"].keys() >= set(EACH)
    assert figures["traces"] > 1000
    for what in ("kept traces", "kept traces with late spans", "spans that went astray"):
        assert figures[what] > 10, what
    assert figures["unreadable messages"] > 0
    assert figures["recoveries"]["assigned: resumed"] > 5

    assert chaos.topics is not None
    for what, (said, tamper) in TAMPERINGS.items():
        wrong = chaos.reckoning(tamper(chaos.topics))
        with pytest.raises(AssertionError, match=said):
            wrong.check()
        print(f"would have been found: {what}")
