"""Topics on the cluster beside topics as specified: create what is missing, say what differs.

Nothing is ever shrunk, altered or deleted here: more partitions move keys to other places, and
a setting that somebody changed by hand may have had a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from schemas.config.units import format_duration
from schemas.errors import ConfigurationError
from schemas.topics import TopicSpec

from .admin import create_missing, open_admin
from .clients import MESSAGE_OVERHEAD_BYTES
from .connection import as_ours

if TYPE_CHECKING:
    from schemas.config import Kafka

__all__ = [
    "Difference",
    "TopicReport",
    "TopicState",
    "check_topics",
    "create_topics",
    "ensure_topics",
    "list_topics",
]

_SHORT_RETENTION_S = 3600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TopicState:
    """A topic as it is on the cluster."""

    name: str
    partitions: int
    replication_factor: int
    """Of the partition that has the fewest replicas."""
    settings: Mapping[str, str]
    """Effective configuration by Kafka's names, the broker's defaults included."""


@dataclass(frozen=True)
class Difference:
    """One setting of one topic that is not what the configuration asks for."""

    topic: str
    setting: str
    wanted: str
    actual: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.actual}, wanted {self.wanted}"


@dataclass(frozen=True)
class TopicReport:
    """What was found, and done."""

    states: Mapping[str, TopicState]
    """Topics that are there, by name."""
    created: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    """What works and yet deserves a look."""

    @property
    def fine(self) -> bool:
        """Nothing is missing and nothing differs."""
        return not self.missing and not self.differences


async def list_topics(kafka: Kafka, names: Sequence[str]) -> dict[str, TopicState]:
    """State of those of the named topics that exist.

    Raises:
        ConfigurationError, BrokerUnavailable: Kafka refuses us, or is away.
    """
    async with open_admin(kafka) as admin:
        return await _states(admin, names)


async def check_topics(kafka: Kafka, specs: Sequence[TopicSpec]) -> TopicReport:
    """Compare; change nothing. Raises as :func:`list_topics`."""
    async with open_admin(kafka) as admin:
        brokers = await _brokers(admin)
        states = await _states(admin, _named(specs))
    return _report(kafka, specs, states, brokers)


async def create_topics(kafka: Kafka, specs: Sequence[TopicSpec]) -> TopicReport:
    """Create the missing topics, wait until their partitions have leaders, compare the rest.

    Where the cluster has fewer brokers than replicas are wanted, there will be as many replicas
    as brokers, and a warning. Raises as :func:`list_topics`.
    """
    async with open_admin(kafka) as admin:
        brokers = await _brokers(admin)
        names = _named(specs)
        states = await _states(admin, names)
        missing = [spec for spec in specs if spec.name not in states]
        if missing:
            new = [_new(spec, brokers, _partitions(spec, states)) for spec in missing]
            created = await create_missing(admin, new)
            states = await _states(admin, names)
        else:
            created = ()
    return _report(kafka, specs, states, brokers, created)


async def ensure_topics(kafka: Kafka, specs: Sequence[TopicSpec], *, create: bool) -> TopicReport:
    """What a stage does before it starts: create or demand its topics, log what differs.

    Raises:
        ConfigurationError: a topic is missing and ``create`` is off; one has fewer partitions
            than another of ``specs`` that it follows, or not just as many where it must;
            or Kafka refuses us.
        BrokerUnavailable: Kafka is away.
    """
    report = await (create_topics if create else check_topics)(kafka, specs)
    if report.missing:
        raise ConfigurationError(
            f"topics are missing: {', '.join(report.missing)}. Create them with "
            "`otlp-streams topics create`, or allow it at start with topics.create: true"
        )
    # Who only reads a topic does not mind: its writer is who cannot work.
    here = {spec.name: report.states[spec.name] for spec in specs}
    if unfit := [text for spec in specs if (text := _unfit(spec, here))]:
        raise ConfigurationError("; ".join(unfit))
    for name in report.created:
        state = report.states[name]
        _log.info("topic created", topic=name, partitions=state.partitions)
    for difference in report.differences:
        _log.warning("topic differs from the configuration", difference=str(difference))
    for warning in report.warnings:
        _log.warning("topics", warning=warning)
    return report


def _report(
    kafka: Kafka,
    specs: Sequence[TopicSpec],
    states: Mapping[str, TopicState],
    brokers: int,
    created: tuple[str, ...] = (),
) -> TopicReport:
    differences: list[Difference] = []
    warnings: list[str] = []
    wanted = max((spec.replication_factor for spec in specs), default=1)
    if wanted > brokers:
        warnings.append(
            f"{wanted} replicas are wanted and the cluster has {brokers} "
            f"broker{'s' * (brokers != 1)}: a lost disk may lose data "
            "(topics.replication_factor)"
        )
    largest = kafka.producer.max_message + MESSAGE_OVERHEAD_BYTES
    for spec in specs:
        if spec.cleanup_policy == "delete" and spec.retention_s < _SHORT_RETENTION_S:
            warnings.append(
                f"{spec.name}: what nobody could take within "
                f"{format_duration(spec.retention_s)} is lost: Kafka is the only buffer (retention)"
            )
        state = states.get(spec.name)
        if state is not None:
            differences += _differences(spec, state, brokers, _partitions(spec, states))
        if text := _unfit(spec, states):
            warnings.append(text)
        actual = state.settings.get("max.message.bytes") if state else None
        limit = int(actual or spec.max_message_bytes)
        if limit < largest:
            warnings.append(
                f"{spec.name}: max.message.bytes is {limit}, and messages of "
                f"kafka.producer.max_message may need {largest}: incompressible ones are refused"
            )
    missing = tuple(spec.name for spec in specs if spec.name not in states)
    return TopicReport(states, created, missing, tuple(differences), tuple(warnings))


def _named(specs: Sequence[TopicSpec]) -> list[str]:
    """The topics, and those that they follow."""
    return list(dict.fromkeys(name for spec in specs for name in (spec.name, *spec.follows)))


def _followed(spec: TopicSpec, states: Mapping[str, TopicState]) -> TopicState | None:
    """The largest topic of those that it follows and that are there."""
    there = [states[name] for name in spec.follows if name in states]
    return max(there, key=lambda state: state.partitions, default=None)


def _partitions(spec: TopicSpec, states: Mapping[str, TopicState]) -> int:
    """Wanted: as many as the topic has that it follows, if that is there."""
    followed = _followed(spec, states)
    return spec.partitions if followed is None else followed.partitions


def _unfit(spec: TopicSpec, states: Mapping[str, TopicState]) -> str | None:
    """What is wrong if it has fewer partitions than a topic that it follows, or wrongly more."""
    followed, there = _followed(spec, states), states.get(spec.name)
    if spec.counted_on and there is not None and there.partitions != spec.partitions:
        return (
            f"{spec.name} has {there.partitions} partitions and topics.partitions is "
            f"{spec.partitions}: what is written to it goes by their number. Say "
            f"topics.partitions: {there.partitions}, or give it more with kafka-topics --alter "
            "while nobody writes"
        )
    if followed is None or there is None or there.partitions == followed.partitions:
        return None
    if there.partitions > followed.partitions:
        if not spec.exactly:
            return None
        return (
            f"{spec.name} has {there.partitions} partitions and {followed.name} "
            f"{followed.partitions}: each of the one belongs to one of the other. "
            f"Give {followed.name} {there.partitions} with kafka-topics --alter"
        )
    return (
        f"{spec.name} has {there.partitions} partitions and {followed.name} "
        f"{followed.partitions}: what lies on the further ones has no place to go. "
        f"Give {spec.name} {followed.partitions} with kafka-topics --alter"
    )


def _differences(
    spec: TopicSpec, state: TopicState, brokers: int, partitions: int
) -> list[Difference]:
    replicas = min(spec.replication_factor, max(brokers, 1))
    wanted = {
        "partitions": str(partitions),
        "replication.factor": str(replicas),
        **spec.settings(replicas),
    }
    actual = {
        "partitions": str(state.partitions),
        "replication.factor": str(state.replication_factor),
        **state.settings,
    }
    return [
        Difference(spec.name, setting, value, actual.get(setting, "unknown"))
        for setting, value in wanted.items()
        if actual.get(setting) != value
    ]


async def _brokers(admin: AIOKafkaAdminClient) -> int:
    return len((await admin.describe_cluster())["brokers"])


async def _states(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, TopicState]:
    # All topics: to ask for one by name would create it where brokers create topics by themselves.
    described = {
        topic["topic"]: topic["partitions"]
        for topic in await admin.describe_topics()
        if topic["topic"] in names and not topic["error_code"]
    }
    settings = await _settings(admin, list(described))
    return {
        name: TopicState(
            name=name,
            partitions=len(partitions),
            replication_factor=min((len(each["replicas"]) for each in partitions), default=0),
            settings=settings[name],
        )
        for name, partitions in described.items()
    }


async def _settings(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(asked):
        for code, message, _, name, entries in answer.resources:
            if code:
                raise as_ours(for_code(code)(message), f"configuration of topic {name}")
            found[name] = {entry[0]: entry[1] or "" for entry in entries}
    return found


def _new(spec: TopicSpec, brokers: int, partitions: int) -> NewTopic:
    replicas = min(spec.replication_factor, max(brokers, 1))
    return NewTopic(spec.name, partitions, replicas, topic_configs=spec.settings(replicas))
