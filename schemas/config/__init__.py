"""Configuration models. One file, checked as a whole before anything starts."""

from .alerts import (
    Absence,
    AlertRule,
    Alerts,
    AnomalyCondition,
    AtLeast,
    SeriesMatch,
    Threshold,
    WindowStatistic,
)
from .anomaly import Anomaly
from .export import Backend, Export, Retry
from .ingest import Cors, GrpcReceiver, HttpReceiver, Ingest, KafkaSource, split_endpoint
from .kafka import ConsumerSettings, Kafka, OAuth, ProducerSettings, Sasl
from .matching import AttributeMatch, CountRange, DurationRange, Match, TextMatch
from .notify import AlertmanagerTarget, Notify, PagerDutyTarget, SlackTarget, WebhookTarget
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
    "AlertmanagerTarget",
    "Alerts",
    "Anomaly",
    "AnomalyCondition",
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
    "Notify",
    "OAuth",
    "PagerDutyTarget",
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
    "SlackTarget",
    "Telemetry",
    "TextMatch",
    "Threshold",
    "TopicNames",
    "Topics",
    "WebhookTarget",
    "WindowRule",
    "WindowStatistic",
    "Windows",
    "split_endpoint",
]
