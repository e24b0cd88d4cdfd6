"""Sampling as a user runs it: two stages as processes, policies, control and explain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from schemas.config import Config, Kafka
from tests.command_line import commands
from topologies.control.setting import history, set_value
from topologies.explain import search
from topologies.kafka import AdminClient
from topologies.localkafka import LocalKafka

from .sampled_topics import SPANS, Seen, configuration, traces
from .stage_process import StageProcess
from .traffic import eventually

TARGET, OFFERED = 20.0, 100.0
"""Traces a second."""
SAMPLING = {
    "policies": [
        {"name": "errors", "match": {"status": "error"}, "always": True, "exempt": True},
        {"name": "rest", "budget": {"traces_per_second": TARGET, "minimum": 0}},
    ]
}


async def delete_until_now(bootstrap: str, topic: str, partitions: int) -> None:
    """As retention does it, but at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        everything = RecordsToDelete(before_offset=-1)
        await admin.delete_records(
            {TopicPartition(topic, number): everything for number in range(partitions)}
        )
    finally:
        await admin.close()


@pytest.mark.timeout(150)
async def test_from_spans_to_what_is_kept_of_them(
    kafka: LocalKafka, group: str, tmp_path: Path
) -> None:
    bootstrap = kafka.bootstrap
    config = configuration(bootstrap, group, SAMPLING)
    settings, file = Config.model_validate(config), tmp_path / "otlp-streams.yaml"
    await asyncio.to_thread(file.write_text, json.dumps(config))
    sample, emit = (StageProcess(tmp_path, name, config) for name in ("sample", "emit"))
    async with sample, emit:
        await asyncio.gather(sample.ready(), emit.ready())
        async with traces(bootstrap, config) as sender, Seen(bootstrap, config) as seen:
            # --- to a budget, complete, once
            first = await sender.send(300, OFFERED)
            kept = await seen.settled(first)
            assert seen.spans.keys() == kept
            assert sender.errors & set(first) <= kept, "every error is kept"
            rest = kept - sender.errors
            # The budget is filled from the very first step on; a step may borrow from the burst.
            assert 0.5 * TARGET * 3 < len(rest) < 1.5 * TARGET * 4
            for trace, states in seen.states.items():
                [state] = states
                assert state.startswith("ot=th:"), "each span says what its trace was kept with"
                assert state == "ot=th:0" or trace not in sender.errors

            # --- what is known of them
            dropped = next(trace for trace in first if trace not in kept)
            a_kept = next(t for t in rest if seen.states[t] != {"ot=th:0"})
            kept_, dropped_, unknown, wrong = await asyncio.to_thread(
                commands,
                file,
                f"explain {a_kept.hex()} --json",
                f"explain {dropped.hex().upper()} --since 1h",
                f"explain {'ab' * 16}",
                "explain 123",
            )
            told: dict[str, Any] = json.loads(kept_.output)
            assert (kept_.code, told["state"], told["verdict"]["policy"]) == (0, "kept", "rest")
            assert told["verdict"]["key"], "readable"
            assert told["verdict"]["adjusted_count"] > 1
            assert sum(each["spans"] for each in told["deliveries"]) == SPANS
            assert {each["source"] for each in told["deliveries"]} <= seen.sources
            assert (dropped_.code, f"{dropped.hex()}: dropped" in dropped_.output) == (0, True)
            assert "probability" in dropped_.output
            assert (unknown.code, "no verdict" in unknown.output) == (1, True)
            assert "ConfigurationError: '123' is no trace id: 32 hex" in wrong.error

            # --- another target, at run time
            await set_value(settings, "sampling.rest.traces_per_second", 1000, "all of them")

            async def applied() -> bool:
                audits, _ = await history(settings, "sampling.rest.traces_per_second")
                [set_, *applied] = audits
                assert (set_.reason, set_.after) == ("all of them", 1000)
                return any(each.stages == ("sample",) and each.ranges for each in applied)

            await eventually(applied)
            second = await sender.send(100, OFFERED)
            assert await seen.settled(second) == set(second)
            target = {"policy": "rest", "unit": "traces"}
            gauge = "otlp_streams_sampling_target_per_second"
            assert await sample.metric(gauge, **target) == 1000

            # --- a foreign writer that chooses partitions otherwise
            misplaced = await sender.misplace()
            assert await seen.settled([misplaced]) == {misplaced}
            assert "wrong partition" in await readiness(sample) or "not their trace's" in (
                await readiness(sample)
            )

            # --- one that is not decided yet
            await set_value(settings, "sample.enabled", False)
            await eventually(lambda: paused(settings))
            [waiting] = await sender.send(1)
            answer = await search(settings, waiting)
            assert answer.state == "open"
            assert answer.waiting is not None
            assert answer.waiting.spans == SPANS
            await set_value(settings, "sample.enabled", None)
            assert await seen.settled([waiting]) == {waiting}

            # --- what retention takes before it is read again
            assert await emit.stop() == 0, emit.log()
            lost = await sender.send(50)
            await eventually(lambda: decided(seen, lost))
            await eventually(lambda: ordered(sample))
            names = config["topics"]["names"]
            await delete_until_now(bootstrap, names["spans"], config["topics"]["partitions"])
            await emit.start()
            await emit.ready()
            third = await sender.send(20)
            assert await seen.settled(third) == set(third)
            gone = await emit.metric("otlp_streams_sampling_lost_source_offsets_total")
            assert gone >= 2 * len(lost)
            assert not set(lost) & seen.spans.keys()
            assert "removed before emit" in await readiness(emit)
            assert await sample.stop() == 0, sample.log()
            assert await emit.stop() == 0, emit.log()
            await seen.update()
    assert seen.verdicts.keys() == set(sender.sent.values())
    assert all(len(each) == 1 for each in seen.verdicts.values()), "one verdict a trace"
    assert all(count == 1 for spans in seen.spans.values() for count in spans.values()), (
        "every span once"
    )


async def decided(seen: Seen, ids: list[bytes]) -> bool:
    await seen.update()
    return seen.verdicts.keys() >= set(ids)


async def paused(settings: Config) -> bool:
    audits, _ = await history(settings, "sample.enabled")
    return any(each.action == "applied" and each.ranges for each in audits)


async def ordered(sample: StageProcess) -> bool:
    """Nothing is open."""
    open_traces = await sample.metric("otlp_streams_sampling_open_traces")
    return open_traces == 0 == await sample.metric("otlp_streams_sampling_undecided_age_seconds")


async def readiness(stage: StageProcess) -> str:
    """Of a process that is ready: all that it says."""
    async with aiohttp.request("GET", f"http://{stage.admin}/readyz") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_partitions_that_do_not_go_together_are_refused(
    kafka: LocalKafka, group: str, tmp_path: Path
) -> None:
    config = configuration(kafka.bootstrap, group, SAMPLING)
    async with AdminClient(Kafka(brokers=(kafka.bootstrap,))) as admin:
        await admin.create(config["topics"]["names"]["spans"], 3)
        await admin.create(config["topics"]["names"]["decisions"], 4)
    for name in ("sample", "emit"):
        async with StageProcess(tmp_path, name, config) as stage:
            assert await stage.wait() == 78, stage.log()
            assert "-decisions has 4 partitions and" in stage.log()
