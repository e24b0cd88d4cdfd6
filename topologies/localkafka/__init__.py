"""One node of Apache Kafka on this machine, for development, demonstrations and tests.

Not for production: one replica, no authorisation, listening on the loopback interface.
"""

from .broker import LocalKafka, LocalKafkaFailed
from .jars import KAFKA_VERSION, default_cache, fetch_jars
from .programs import find_java, find_maven
from .properties import BrokerTls

__all__ = [
    "KAFKA_VERSION",
    "BrokerTls",
    "LocalKafka",
    "LocalKafkaFailed",
    "default_cache",
    "fetch_jars",
    "find_java",
    "find_maven",
]
