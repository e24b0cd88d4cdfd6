"""``alerts list|history|silence|rules`` on a real Kafka."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.config import Config
from schemas.errors import BrokerUnavailable, ConfigurationError
from tests.alert_events import event, publish
from tests.command_line import Said, commands
from tests.conftest import MakeTopic
from topologies.alerts import Filters, add_silence, expire_silences, history, silences
from topologies.control import setting
from topologies.localkafka import LocalKafka

NOW = datetime.now(UTC).replace(microsecond=0)
RULES = """
- name: CheckoutSlow
  on: {window: services, length: 10s, statistic: p99}
  threshold: {op: ">", value: 500ms}
"""


@pytest.fixture
def config(kafka: LocalKafka, make_topic: MakeTopic, group: str) -> dict[str, Any]:
    compact = {"cleanup_policy": "compact"}
    names = {"alerts": make_topic(1), "audit": make_topic(1)}
    names |= {"alerts_state": make_topic(3, **compact), "control": make_topic(1, **compact)}
    return {
        "kafka": {"brokers": [kafka.bootstrap], "group_prefix": group},
        "topics": {"names": names, "partitions": 3},
        "windows": {"enabled": True},
        "alerts": {"enabled": True},
    }


@pytest.fixture
def file(config: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / "otlp-streams.yaml"
    file.write_text(json.dumps(config))
    return file


def well(said: Said) -> str:
    assert (said.code, said.error) == (0, ""), said
    return said.output


async def test_what_fires_and_what_has_become_of_alerts(
    config: dict[str, Any], file: Path, kafka: LocalKafka
) -> None:
    names = config["topics"]["names"]
    cart = event("cart", at=NOW - timedelta(minutes=3))
    over = event("cart", "resolved", NOW, fired_at=NOW - timedelta(minutes=3))
    pay, ship = event("pay", at=NOW, severity="info"), event("ship", "pending", NOW)
    both = (names["alerts"], names["alerts_state"])
    await publish(kafka.bootstrap, both, [cart, pay, over, over])
    await publish(kafka.bootstrap, both[1:], [ship])
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(both[0], b"{}")
        other = [("ce_type", b"io.otlp-streams.rules")]
        await producer.send_and_wait(both[1], b"{}", key=b"rules/0", headers=other)
    await add_silence(Config.model_validate(config), ["service=pay"], NOW, NOW + timedelta(hours=1))

    said = await asyncio.to_thread(
        commands,
        file,
        "alerts list",
        "alerts list --json",
        "alerts list --state resolved --service cart",
        "alerts list --match severity=~info|warning",
        "alerts list --rule Other",
        "alerts list --state burning",
        "alerts list --match severity",
        "alerts history --since 10m",
        "alerts history --json --service cart",
        "alerts history --since 2999-01-01T00:00",
        "alerts history --max 1",
    )
    table = well(said[0]).splitlines()
    assert len(table) == 3
    assert table[1].startswith("firing (silenced)")
    assert "service=pay" in table[1]
    assert "pay fails" in table[1]
    assert "> 0.05" in table[1]
    assert table[2].startswith("pending")
    found = json.loads(well(said[1]))
    assert [(e["labels"]["service"], e["silenced"]) for e in found] == [
        ("pay", True), ("ship", False),
    ]  # fmt: skip
    assert "resolved" in well(said[2])
    assert "service=pay" in well(said[3])
    assert well(said[4]) == "nothing fires\n"
    assert "'burning' is not one of" in said[5].error
    assert "is no matcher" in said[6].error
    assert [line.split()[2] for line in well(said[7]).splitlines() if "HighError" in line] == [
        "firing", "firing", "resolved",
    ]  # fmt: skip
    assert "ignored: 1 records that are no alerts" in said[7].output
    assert [e["state"] for e in json.loads(well(said[8]).partition("\n")[2])] == [
        "firing", "resolved",
    ]  # fmt: skip
    assert well(said[9]) == "there are none\n"
    assert "resolved" in well(said[10])
    assert "firing" not in said[10].output


async def test_silences_are_made_listed_and_ended(file: Path) -> None:
    said = await asyncio.to_thread(
        commands,
        file,
        "alerts silence add service=cart severity=~info|warning --for 30m --comment deploy --json",
        "alerts silence add zone!=eu --start 2999-01-01T00:00 --end 2999-01-02T00:00",
        "alerts silence list",
        "alerts silence add service",
        "alerts silence add service=~(",
        "alerts silence add a=b --for 0s",
        "alerts silence add a=b --for soon",
        "alerts silence add a=b --end later",
        "alerts silence expire nothing",
        "control get alerts.silences",
    )
    made = json.loads(well(said[0]))
    assert made["matchers"] == ['service="cart"', 'severity=~"info|warning"']
    lasts = datetime.fromisoformat(made["ends_at"]) - datetime.fromisoformat(made["starts_at"])
    assert lasts == timedelta(minutes=30)
    assert 'zone!="eu", until 2999-01-0' in well(said[1])
    table = well(said[2]).splitlines()
    assert [line.split()[1] for line in table[1:]] == ["active", "pending"]
    assert "deploy" in table[1]
    reasons = (
        "is no matcher", "regular expression", "not after", "duration", "no time",
        "no such silence",
    )  # fmt: skip
    for bad, why in zip(said[3:9], reasons, strict=True):
        assert bad.error.startswith("ConfigurationError"), bad
        assert why in bad.error
    assert "1 line" in well(said[9])

    second = table[2].split()[0]
    said = await asyncio.to_thread(
        commands,
        file,
        f"alerts silence expire {made['id'][:6]} {second}",
        "alerts silence list",
        "alerts silence list --expired --json",
    )
    assert well(said[0]).count("is over") == 2
    assert well(said[1]) == "nothing is silenced\n"
    left = json.loads(well(said[2]))
    assert [(each["id"], each["state"]) for each in left] == [(made["id"], "expired")]


async def test_of_two_who_silence_at_once_the_earlier_one_is_told_and_nothing_is_lost(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, until = Config.model_validate(config), NOW + timedelta(hours=1)
    real, others = setting._wanted, ["service=b"]

    async def between(of: Config) -> Any:
        """When the one has read what there is, the other one comes."""
        found = await real(of)
        if others:
            await add_silence(settings, [others.pop()], NOW, until)
        return found

    monkeypatch.setattr(setting, "_wanted", between)
    with pytest.raises(BrokerUnavailable, match="at the same moment"):
        await add_silence(settings, ["service=a"], NOW, until)
    assert [each.matchers for each in await silences(settings)] == [('service="b"',)]
    await add_silence(settings, ["service=a"], NOW, until)
    assert len(await silences(settings)) == 2
    with pytest.raises(ConfigurationError, match="no such silence"):
        await expire_silences(settings, [""])


async def test_rules_are_set_as_a_whole_or_not_at_all(file: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(RULES)
    bad.write_text(RULES.replace("p99", "p98").replace("services", "nothing"))
    said = await asyncio.to_thread(
        commands,
        file,
        "alerts rules get",
        f"alerts rules set {good} --reason because",
        f"alerts rules set {bad}",
        f"alerts rules set {tmp_path / 'none.yaml'}",
        "alerts rules get",
        "alerts rules history",
        "alerts rules unset",
        "alerts rules get",
    )
    assert "of the configuration" in well(said[0])
    assert "(configuration) -> 4 lines" in well(said[1])
    assert said[2].error.startswith("ConfigurationError")
    assert "line " in said[2].error
    assert "bad.yaml" in said[2].error
    assert "No such file" in said[3].error
    assert well(said[4]).strip() == RULES.strip()
    assert "because" in well(said[5])
    assert "4 lines -> (configuration)" in well(said[6])
    assert "of the configuration" in well(said[7])


def test_where_there_are_no_alerts_it_says_so(config: dict[str, Any], file: Path) -> None:
    names = {**config["topics"]["names"], "alerts": "no-such", "alerts_state": "no-such-state"}
    nothing = Config.model_validate({**config, "topics": {"names": names}})
    with pytest.raises(ConfigurationError, match="there is no topic no-such"):
        asyncio.run(history(nothing, Filters()))
    file.write_text(json.dumps({"kafka": config["kafka"]}))
    said = commands(file, "alerts silence list", "alerts rules get")
    assert "alerts.silences" in said[0].error
    assert "alerts.enabled is false" in said[1].error
