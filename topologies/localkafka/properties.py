"""``server.properties`` of the local broker: small, quiet, quick to start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOG4J2", "BrokerTls", "Listener", "server_properties"]

LOG4J2 = """\
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c{1})%n%ex{3}
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = OUT
logger.authentication.name = org.apache.kafka.common.network.Selector
logger.authentication.level = ERROR
"""


@dataclass(frozen=True)
class BrokerTls:
    """PEM files of the broker's TLS listeners."""

    keystore_file: Path
    """Key (PKCS #8) followed by the certificate and its chain."""
    ca_file: Path
    """Authorities whose client certificates are let in."""


@dataclass(frozen=True)
class Listener:
    """One port of the broker; ``protocol`` is Kafka's security protocol and the name."""

    protocol: str
    port: int


def server_properties(
    *,
    host: str,
    data: Path,
    controller_port: int,
    listeners: tuple[Listener, ...],
    users: Mapping[str, str],
    tls: BrokerTls | None,
    extra: Mapping[str, str],
) -> str:
    """Text of the properties file of one node that is broker and controller."""
    spoken = [f"{each.protocol}://{host}:{each.port}" for each in listeners]
    protocols = [f"{each.protocol}:{each.protocol}" for each in listeners]
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{host}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": ",".join([*spoken, f"CONTROLLER://{host}:{controller_port}"]),
        "advertised.listeners": ",".join(spoken),
        "listener.security.protocol.map": ",".join([*protocols, "CONTROLLER:PLAINTEXT"]),
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        # One node: whatever Kafka replicates for itself has one replica, and few partitions.
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        # After a SIGKILL the controller lets the same broker in again only when its old session
        # is over: 9 s by default.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "400",
        # Two shared cores and a small heap: the defaults would take 128 MB for the cleaner.
        "num.network.threads": "2",
        "num.io.threads": "2",
        "background.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(8 << 20),
    }
    if users:
        settings |= _sasl(listeners, users)
    if tls is not None:
        settings |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(tls.keystore_file),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(tls.ca_file),
            # Mutual TLS where TLS is all there is; with SASL the password is the proof.
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.sasl_ssl.ssl.client.auth": "none",
        }
    return "".join(f"{name}={value}\n" for name, value in (settings | dict(extra)).items())


def _sasl(listeners: tuple[Listener, ...], users: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    security = "org.apache.kafka.common.security"
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    scram = f"{security}.scram.ScramLoginModule required;"
    for listener in listeners:
        if not listener.protocol.startswith("SASL"):
            continue
        prefix = f"listener.name.{listener.protocol.lower()}"
        settings |= {
            f"{prefix}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f"{prefix}.plain.sasl.jaas.config": (
                f"{security}.plain.PlainLoginModule required {known};"
            ),
            f"{prefix}.scram-sha-256.sasl.jaas.config": scram,
            f"{prefix}.scram-sha-512.sasl.jaas.config": scram,
            # Accepts any unsigned token (RFC 7515 appendix A.5): for tests of clients only.
            f"{prefix}.oauthbearer.sasl.jaas.config": (
                f"{security}.oauthbearer.OAuthBearerLoginModule required "
                'unsecuredLoginStringClaim_sub="broker";'
            ),
        }
    return settings
