"""The topics as data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.config import Config, Shape, TopicNames
from schemas.signals import Signal
from schemas.topics import topic_specs


def test_the_topics_of_an_empty_configuration() -> None:
    specs = topic_specs(Config())
    assert [spec.name for spec in specs] == [
        "otlp_spans",
        "otlp_metrics",
        "otlp_logs",
        "otlp_spans.out",
        "otlp_metrics.out",
        "otlp_logs.out",
        "journal.shape",
        "deadletter",
        "control",
        "audit",
    ]
    for spec in specs[:8]:
        assert (spec.partitions, spec.replication_factor) == (12, 3)
        # Stages reckon with the broker's clock, which no client can set wrong.
        assert spec.settings()["message.timestamp.type"] == "LogAppendTime"
        assert spec.key
        assert spec.format
        assert spec.description


def test_a_message_of_the_largest_size_fits_every_topic() -> None:
    config = Config()
    for spec in topic_specs(config):
        assert spec.max_message_bytes > config.kafka.producer.max_message
    # A dead letter carries a whole message and why it is there.
    deadletter = {spec.name: spec for spec in topic_specs(config)}["deadletter"]
    assert deadletter.max_message_bytes > config.topics.max_message


def test_changes_have_one_order_and_the_newest_of_each_name_stays() -> None:
    control, audit = topic_specs(Config())[-2:]
    assert (control.partitions, audit.partitions) == (1, 1)
    assert control.settings()["cleanup.policy"] == "compact"
    assert audit.settings()["retention.ms"] == str(90 * 86_400_000)


def test_names_and_shapes_follow_the_configuration() -> None:
    config = Config.model_validate(
        {
            "topics": {
                "names": {"spans": "traces.in"},
                "partitions": 64,
                "replication_factor": 1,
                "retention": "6h",
                "deadletter_retention": "3d",
                "max_message": "4MiB",
            }
        }
    )
    spans, *_, journal, deadletter, _, _ = topic_specs(config)
    assert spans.name == "traces.in"
    assert spans.settings() == {
        "cleanup.policy": "delete",
        "max.message.bytes": str(4 << 20),
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "21600000",
    }
    assert (spans.partitions, deadletter.partitions) == (64, 64)
    assert journal.follows == ("traces.in", "otlp_metrics", "otlp_logs")
    assert deadletter.settings()["retention.ms"] == str(3 * 86_400_000)


def test_two_in_sync_replicas_where_there_are_three() -> None:
    spec = topic_specs(Config())[0]
    assert spec.settings()["min.insync.replicas"] == "2"
    # With two replicas, demanding both would stop the topic when either is away.
    assert "min.insync.replicas" not in spec.settings(2)
    assert "min.insync.replicas" not in spec.settings(1)


def test_a_compacted_topic_has_no_retention() -> None:
    spec = replace(topic_specs(Config())[0], cleanup_policy="compact")
    assert "retention.ms" not in spec.settings()
    assert spec.settings()["cleanup.policy"] == "compact"


def test_what_exporters_read_goes_with_what_came() -> None:
    specs = {spec.name: spec for spec in topic_specs(Config())}
    for name in ("otlp_spans", "otlp_metrics", "otlp_logs"):
        assert specs[f"{name}.out"].follows == (name,)
        assert specs[f"{name}.out"].settings() == specs[name].settings()


def test_age_does_not_eat_a_journal() -> None:
    config = Config.model_validate({"shape": {"signals": ["logs"]}})
    journal = {spec.name: spec for spec in topic_specs(config)}["journal.shape"]
    assert journal.follows == ("otlp_logs",)
    assert journal.settings()["cleanup.policy"] == "compact"
    assert "retention.ms" not in journal.settings()
    # Compaction leaves the last segment alone: a large one would be read and kept for long.
    assert int(journal.settings()["segment.bytes"]) <= 64 << 20


def test_sampling_has_a_log_that_goes_with_the_spans() -> None:
    config = Config.model_validate(
        {"sampling": {"enabled": True}, "topics": {"decisions_retention": "5d"}}
    )
    specs = {spec.name: spec for spec in topic_specs(config)}
    decisions = specs["sampling.decisions"]
    assert (decisions.follows, decisions.exactly) == (("otlp_spans",), True)
    assert decisions.settings()["retention.ms"] == str(5 * 86_400_000)
    assert specs["journal.sample"].follows == ("otlp_spans",)
    assert set(specs["journal.emit"].follows) >= {"sampling.decisions"}
    assert specs["journal.shape"].follows == ("otlp_metrics", "otlp_logs")
    alone = config.model_copy(update={"shape": Shape(signals=(Signal.TRACES,))})
    assert "journal.shape" not in {spec.name for spec in topic_specs(alone)}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"spans_out": "otlp_spans"}, "two topics are called 'otlp_spans'"),
        ({"logs": "journal.logs"}, "'journal.logs' would be the journal of a stage"),
        ({"journal": "a b"}, "'a b' is not a legal topic name"),
    ],
)
def test_names_that_would_mix_topics_are_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopicNames.model_validate(names)


def test_the_topics_of_windows_and_alerts() -> None:
    config = Config.model_validate(
        {
            "windows": {"enabled": True},
            "alerts": {"enabled": True},
            "topics": {"partitions": 5, "windows_retention": "2d"},
        }
    )
    specs = {spec.name: spec for spec in topic_specs(config)}
    partials, windows = specs["windows.partials"], specs["windows"]
    assert (partials.partitions, partials.counted_on, partials.follows) == (5, True, ())
    assert (windows.follows, windows.exactly) == (("windows.partials",), True)
    assert windows.settings()["retention.ms"] == str(2 * 86_400_000)
    assert specs["otlp_metrics.out"].follows == ("otlp_metrics", "windows.partials")
    assert specs["alerts"].partitions == 1
    assert specs["alerts.state"].follows == ("windows",)
    state = specs["alerts.state"].settings()
    assert state["cleanup.policy"] == "compact,delete"
    assert state["retention.ms"] == str(90 * 86_400_000)
    assert specs["journal.windows"].follows == ("windows.partials",)
    assert specs["journal.detect"].follows == ("windows",)
    assert not {"windows", "alerts"} & {spec.name for spec in topic_specs(Config())}


def test_who_only_tells_of_alerts_needs_their_topics_alone() -> None:
    target = {"type": "webhook", "url": "http://localhost/"}
    config = Config.model_validate({"notify": {"targets": {"hook": target}}})
    names = [spec.name for spec in topic_specs(config)]
    assert {"alerts", "alerts.state"} <= set(names)
    assert not {"windows", "journal.detect"} & set(names)
