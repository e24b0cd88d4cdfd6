"""A configuration with topics of its own on the shared broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.config import Config, TopicNames
from topologies.localkafka import LocalKafka


@pytest.fixture
def config(kafka: LocalKafka, group: str) -> Config:
    names = {each: f"{group}.{each}" for each in TopicNames.model_fields}
    return Config.model_validate(
        {
            "kafka": {"brokers": [kafka.bootstrap], "group_prefix": group},
            "topics": {"partitions": 2, "replication_factor": 1, "names": names},
        }
    )


@pytest.fixture
def config_file(config: Config, tmp_path: Path) -> Path:
    file = tmp_path / "otlp-streams.yaml"
    file.write_text(
        json.dumps(
            {
                "kafka": {
                    "brokers": list(config.kafka.brokers),
                    "group_prefix": config.kafka.group_prefix,
                },
                "topics": {
                    "partitions": 2,
                    "replication_factor": 1,
                    "names": config.topics.names.model_dump(),
                },
                "telemetry": {"endpoint": "127.0.0.1:0"},
            }
        )
    )
    return file
