"""Ports and configuration of a demonstration: the usual ones where they are free."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from schemas.config import Config, split_endpoint
from topologies.boot import boot, read_config
from topologies.localkafka.probe import free_ports, is_free

__all__ = ["ALERTS", "PARTITIONS", "SAMPLING", "WINDOWS", "Plan", "plan"]

_HOST = "127.0.0.1"
_PORT_NAMES = ("kafka", "grpc", "http", "admin", "backend")

PARTITIONS = 2
"""Where the user does not say how many: a small budget divides over few."""
WINDOWS: Mapping[str, Any] = {
    "enabled": True,
    "allowed_lateness": "5s",
    "idle_after": "2s",
    "rules": [
        {"name": "services", "signal": "spans", "lengths": ["5s", "10s", "1m"], "export": False},
        {
            "name": "operations", "signal": "spans", "by": ["span.name", "status.code"],
            "lengths": ["10s", "1m"],
        },
        {"name": "logs", "signal": "logs", "by": ["severity"], "lengths": ["10s", "1m"]},
    ],
}  # fmt: skip
"""Where the user says nothing about windows: short ones, so that there is something to see."""
ALERTS: Mapping[str, Any] = {
    "enabled": True,
    "rules": [
        {
            "name": "ManyErrors", "severity": "critical", "min_count": 20,
            "on": {"window": "services", "length": "5s", "statistic": "error_ratio"},
            "threshold": {"op": ">", "value": "20%"},
            "summary": "{{ value | percent }} of {{ service }} fail",
        },
    ],
}  # fmt: skip
"""Where the user says nothing about alerts: one that needs no history, beside the built-in ones."""
SAMPLING: Mapping[str, Any] = {
    "enabled": True,
    "decision_wait": "6s",
    "policies": [
        {"name": "errors", "match": {"status": "error"}, "always": True, "exempt": True},
        {"name": "slow", "match": {"latency": {"min": "2s"}}, "always": True, "exempt": True},
        {"name": "fair-share", "budget": {"traces_per_second": 15}},
    ],
}
"""Where the user says nothing about sampling: all that failed or was slow, and of the rest fifteen
traces a second, of every operation some."""


class Plan(NamedTuple):
    """What will run where."""

    config: Config
    stages: tuple[str, ...]
    file: Path
    """The configuration that the stages read."""
    ports: Mapping[str, int]
    backend: str
    """``host:port`` where the backend of the demonstration takes OTLP/HTTP."""

    @property
    def brokers(self) -> str:
        """``host:port`` of Kafka."""
        return f"{_HOST}:{self.ports['kafka']}"

    @property
    def grpc(self) -> str:
        """``host:port`` where OTLP/gRPC is taken."""
        return f"{_HOST}:{self.ports['grpc']}"

    @property
    def admin(self) -> str:
        """``host:port`` of the supervisor's health and metrics."""
        return f"{_HOST}:{self.ports['admin']}"


def plan(file: Path | None, directory: Path, *, any_ports: bool = False) -> Plan:
    """Write the stages' configuration into ``directory``.

    Args:
        file: the user's configuration, whose Kafka and backends are replaced.
        directory: where to write.
        any_ports: take free ports even where the usual ones could be had.

    Raises:
        ConfigurationError: the user's configuration is wrong.
    """
    theirs, source = read_config(file)
    ports = _ports(theirs, any_ports=any_ports)
    raw = {} if source == "defaults" else YAML(typ="safe").load(Path(source)) or {}
    merged = _merge(raw, _overrides(ports))
    merged["kafka"] = {
        **{k: v for k, v in raw.get("kafka", {}).items() if k in ("producer", "consumer")},
        "brokers": [f"{_HOST}:{ports['kafka']}"],
    }
    merged["export"] = {"backends": {"demo": _backend(ports)}}
    merged.setdefault("sampling", SAMPLING)
    if "windows" not in merged:
        merged["windows"] = WINDOWS
        merged.setdefault("alerts", ALERTS)
    merged["topics"].setdefault("partitions", PARTITIONS)
    written = directory / "otlp-streams.yaml"
    written.write_text(json.dumps(merged, indent=2, default=str))  # JSON is YAML
    booted = boot(written)
    return Plan(booted.config, booted.stages, written, ports, f"{_HOST}:{ports['backend']}")


def _ports(config: Config, *, any_ports: bool) -> dict[str, int]:
    wanted = {
        "kafka": int(config.kafka.brokers[0].rpartition(":")[2]),
        "grpc": split_endpoint(config.ingest.grpc.endpoint)[1],
        "http": split_endpoint(config.ingest.http.endpoint)[1],
        "admin": split_endpoint(config.telemetry.endpoint)[1],
        "backend": 5318,
    }
    spare: Iterator[int] = iter(free_ports(len(_PORT_NAMES), _HOST))
    return {
        name: port if port and not any_ports and is_free(_HOST, port) else next(spare)
        for name, port in wanted.items()
    }


def _overrides(ports: Mapping[str, int]) -> dict[str, Any]:
    return {
        "topics": {"replication_factor": 1},
        "ingest": {
            "grpc": {"endpoint": f"{_HOST}:{ports['grpc']}"},
            "http": {"endpoint": f"{_HOST}:{ports['http']}"},
        },
        "telemetry": {"endpoint": f"{_HOST}:{ports['admin']}"},
    }


def _backend(ports: Mapping[str, int]) -> dict[str, Any]:
    return {
        "protocol": "http",
        "endpoint": f"http://{_HOST}:{ports['backend']}",
        "compression": "zstd",
    }


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = (
            _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged
