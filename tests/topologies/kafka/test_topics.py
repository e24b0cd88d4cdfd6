"""Topics: created where missing, compared where there, never altered."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from schemas.config import Config, Kafka
from schemas.errors import BrokerUnavailable, ConfigurationError
from schemas.topics import TopicSpec, topic_specs
from tests.conftest import MakeTopic
from topologies.kafka import check_topics, create_topics, ensure_topics, list_topics
from topologies.localkafka.probe import free_ports


@pytest.fixture
def settings(bootstrap: str) -> Kafka:
    return Kafka(brokers=(bootstrap,))


@pytest.fixture
def specs(group: str) -> tuple[TopicSpec, ...]:
    """The project's topics under names that no other test uses."""
    given = topic_specs(Config.model_validate({"topics": {"partitions": 3}}))
    return tuple(
        replace(
            spec,
            name=f"{group}.{spec.name}",
            follows=tuple(f"{group}.{name}" for name in spec.follows),
        )
        for spec in given
    )


async def test_missing_topics_are_named_and_not_created_by_a_check(
    settings: Kafka, specs: tuple[TopicSpec, ...]
) -> None:
    names = tuple(spec.name for spec in specs)
    report = await check_topics(settings, specs)
    assert report.missing == names
    assert not report.fine
    assert await list_topics(settings, names) == {}


async def test_created_topics_are_as_specified(
    settings: Kafka, specs: tuple[TopicSpec, ...]
) -> None:
    report = await create_topics(settings, specs)
    assert set(report.created) == {spec.name for spec in specs}
    assert report.fine
    for spec in specs:
        state = report.states[spec.name]
        assert state.partitions == spec.partitions
        assert state.replication_factor == 1  # three wanted, one broker
        assert state.settings["message.timestamp.type"] == "LogAppendTime"
        if spec.cleanup_policy == "delete":
            assert state.settings["retention.ms"] == str(int(spec.retention_s * 1000))
        assert state.settings["cleanup.policy"] == spec.cleanup_policy
        assert state.settings["max.message.bytes"] == str(spec.max_message_bytes)
        assert state.settings["min.insync.replicas"] == "1"
    assert [w for w in report.warnings if "3 replicas are wanted and the cluster has 1 broker" in w]


async def test_creating_again_changes_nothing(
    settings: Kafka, specs: tuple[TopicSpec, ...]
) -> None:
    first = await create_topics(settings, specs[:2])
    again = await create_topics(settings, specs)
    assert set(again.created) == {spec.name for spec in specs[2:]}
    assert again.fine
    assert {name: again.states[name] for name in first.states} == dict(first.states)


async def test_two_processes_may_create_at_once(
    settings: Kafka, specs: tuple[TopicSpec, ...]
) -> None:
    reports = await asyncio.gather(*(create_topics(settings, specs) for _ in range(3)))
    assert all(report.fine for report in reports)
    created = [name for report in reports for name in report.created]
    assert sorted(created) == sorted(spec.name for spec in specs)


async def test_differences_are_told_by_setting_and_left_alone(
    settings: Kafka, specs: tuple[TopicSpec, ...], make_topic: MakeTopic
) -> None:
    name = make_topic(2, cleanup_policy="compact", max_message_bytes=50_000)
    spec = replace(specs[0], name=name)
    report = await create_topics(settings, [spec])
    assert report.created == ()
    assert {(d.setting, d.wanted, d.actual) for d in report.differences} == {
        ("partitions", "3", "2"),
        ("cleanup.policy", "delete", "compact"),
        ("max.message.bytes", "1048588", "50000"),
        ("message.timestamp.type", "LogAppendTime", "CreateTime"),
        ("retention.ms", "86400000", "604800000"),
    }
    assert f"{name}: partitions is 2, wanted 3" in [str(d) for d in report.differences]
    assert [w for w in report.warnings if w.startswith(f"{name}: max.message.bytes is 50000")]
    assert (await check_topics(settings, [spec])).differences == report.differences


async def test_more_partitions_than_wanted_are_a_difference_too(
    settings: Kafka, specs: tuple[TopicSpec, ...]
) -> None:
    spec = specs[0]
    await create_topics(settings, [spec])
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers[0])
    await admin.start()
    await admin.create_partitions({spec.name: NewPartitions(5)})
    await admin.close()
    async with asyncio.timeout(20):
        found = (await create_topics(settings, [spec])).differences
        while not found:
            await asyncio.sleep(0.05)
            found = (await create_topics(settings, [spec])).differences
    assert [(d.setting, d.wanted, d.actual) for d in found] == [("partitions", "3", "5")]


async def test_a_stage_that_may_not_create_demands(
    settings: Kafka, specs: tuple[TopicSpec, ...]
) -> None:
    with pytest.raises(ConfigurationError, match="otlp-streams topics create"):
        await ensure_topics(settings, specs, create=False)
    report = await ensure_topics(settings, specs, create=True)
    assert len(report.created) == len(specs)
    assert (await ensure_topics(settings, specs, create=False)).fine


async def test_without_a_broker_the_error_says_so() -> None:
    absent = Kafka(brokers=(f"127.0.0.1:{free_ports(1)[0]}",))
    with pytest.raises(BrokerUnavailable, match=r"nobody listens there \(kafka.brokers\)"):
        await check_topics(absent, topic_specs(Config()))


async def test_a_refused_setting_is_an_error_with_the_topics_name(
    settings: Kafka, specs: tuple[TopicSpec, ...]
) -> None:
    broken = replace(specs[0], cleanup_policy="shred")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=f"{broken.name} cannot be created"):
        await create_topics(settings, [broken])


async def test_a_topic_goes_with_the_partitions_of_the_one_it_follows(
    settings: Kafka, specs: tuple[TopicSpec, ...], make_topic: MakeTopic
) -> None:
    source, short = make_topic(5), make_topic(4)
    out = next(spec for spec in specs if spec.follows)
    created = replace(out, follows=(source,))
    report = await create_topics(settings, [created])
    assert report.states[created.name].partitions == 5
    assert report.fine
    alone = await check_topics(settings, [replace(out, name=short, follows=("absent",))])
    assert not [warning for warning in alone.warnings if warning.startswith(f"{short} has")]
    there = replace(out, name=short, follows=(source, created.name))
    report = await check_topics(settings, [there])
    assert ("partitions", "5", "4") in {(d.setting, d.wanted, d.actual) for d in report.differences}
    told = f"{short} has 4 partitions and {source} 5"
    assert [warning for warning in report.warnings if warning.startswith(told)]
    assert (await ensure_topics(settings, [there], create=True)).warnings  # a reader does not mind
    with pytest.raises(ConfigurationError, match=told):
        await ensure_topics(settings, [there, replace(specs[0], name=source)], create=True)


async def test_a_topic_that_must_go_partition_by_partition_may_not_have_more(
    settings: Kafka, specs: tuple[TopicSpec, ...], make_topic: MakeTopic
) -> None:
    source, larger = replace(specs[0], name=make_topic(2)), make_topic(3)
    out = replace(specs[3], name=larger, follows=(source.name,))
    assert (await ensure_topics(settings, [source, out], create=True)).states
    with pytest.raises(ConfigurationError, match=f"{larger} has 3 partitions and {source.name} 2"):
        await ensure_topics(settings, [source, replace(out, exactly=True)], create=True)


async def test_a_topic_whose_partitions_are_counted_on_has_just_so_many(
    settings: Kafka, specs: tuple[TopicSpec, ...], make_topic: MakeTopic
) -> None:
    there = replace(specs[0], name=make_topic(3), counted_on=True)
    assert (await ensure_topics(settings, [replace(there, partitions=3)], create=True)).states
    for wanted in (2, 4):
        with pytest.raises(ConfigurationError, match=f"{there.name} has 3 partitions and topics"):
            await ensure_topics(settings, [replace(there, partitions=wanted)], create=True)
