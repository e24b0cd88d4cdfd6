"""Configuration models. One file, checked as a whole before anything starts."""

from .alerts import (
    Absence,
    AlertRule,
    Alerts,
    Anomaly,
    AtLeast,
    SeriesMatch,
    Threshold,
    WindowStatistic,
)
from .export import Backend, Export, Retry
from .ingest import Cors, GrpcReceiver, HttpReceiver, Ingest, KafkaSource, split_endpoint
from .kafka import ConsumerSettings, Kafka, OAuth, ProducerSettings, Sasl
from .matching import AttributeMatch, CountRange, DurationRange, Match, TextMatch
from .root import Config
from .runtime import Runtime, Telemetry
from .sampling import Aimd, Budget, Policy, RateLimit, Sampling
from .security import ClientTls, ServerTls
from .shape import Shape
from .topics import TopicNames, Topics
from .windows import WindowRule, Windows

__all__ = [
    "Absence",
    "Aimd",
    "AlertRule",
    "Alerts",
    "Anomaly",
    "AtLeast",
    "AttributeMatch",
    "Backend",
    "Budget",
    "ClientTls",
    "Config",
    "ConsumerSettings",
    "Cors",
    "CountRange",
    "DurationRange",
    "Export",
    "GrpcReceiver",
    "HttpReceiver",
    "Ingest",
    "Kafka",
    "KafkaSource",
    "Match",
    "OAuth",
    "Policy",
    "ProducerSettings",
    "RateLimit",
    "Retry",
    "Runtime",
    "Sampling",
    "Sasl",
    "SeriesMatch",
    "ServerTls",
    "Shape",
    "Telemetry",
    "TextMatch",
    "Threshold",
    "TopicNames",
    "Topics",
    "WindowRule",
    "WindowStatistic",
    "Windows",
    "split_endpoint",
]
