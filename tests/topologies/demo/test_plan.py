"""What a demonstration is about to run."""

import socket

import pytest

from schemas.errors import ConfigurationError
from topologies.demo.plan import PARTITIONS, plan


def test_any_ports_are_all_free_and_different(tmp_path):
    planned = plan(None, tmp_path, any_ports=True)
    assert len(set(planned.ports.values())) == 5
    assert planned.stages == (
        "ingest", "sample", "emit", "shape", "windows", "detect", "export:demo",
    )  # fmt: skip
    assert planned.config.kafka.brokers == (f"127.0.0.1:{planned.ports['kafka']}",)
    assert planned.config.topics.replication_factor == 1


def test_a_taken_port_is_left_alone(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        theirs = tmp_path / "theirs.yaml"
        theirs.write_text(f"ingest: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}")
        planned = plan(theirs, tmp_path)
    assert planned.ports["grpc"] != port


def test_their_settings_stay_their_kafka_and_backends_do_not(tmp_path):
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text(
        "kafka:\n"
        "  brokers: [kafka.example:9093]\n"
        "  tls: {enabled: true}\n"
        "  sasl: {mechanism: PLAIN, username: me, password: secret}\n"
        "  producer: {compression: lz4}\n"
        "topics: {partitions: 3}\n"
        "ingest: {linger: 5ms}\n"
        "export: {backends: {real: {endpoint: 'https://otlp.example'}}}\n"
    )
    planned = plan(theirs, tmp_path, any_ports=True)
    config = planned.config
    assert not config.kafka.tls.enabled
    assert config.kafka.sasl is None
    assert config.kafka.producer.compression == "lz4"
    assert list(config.export.backends) == ["demo"]
    assert (config.topics.partitions, config.ingest.linger) == (3, 0.005)
    assert "secret" not in planned.file.read_text()


def test_a_wrong_configuration_is_said_at_once(tmp_path):
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("ingest: {lingre: 5ms}\n")
    with pytest.raises(ConfigurationError, match="linger"):
        plan(theirs, tmp_path)


def test_it_samples_to_a_budget_unless_they_say_otherwise(tmp_path):
    planned = plan(None, tmp_path, any_ports=True)
    sampling = planned.config.sampling
    assert sampling.enabled
    assert [policy.name for policy in sampling.policies] == ["errors", "slow", "fair-share"]
    assert planned.config.topics.partitions == PARTITIONS
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("topics: {partitions: 2}\nsampling: {enabled: false}\n")
    planned = plan(theirs, tmp_path, any_ports=True)
    assert not planned.config.sampling.enabled
    assert planned.stages == ("ingest", "shape", "windows", "detect", "export:demo")
    assert planned.config.topics.partitions == 2
