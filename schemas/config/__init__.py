"""Configuration models. One file, checked as a whole before anything starts."""

from .export import Backend, Export, Retry
from .ingest import Cors, GrpcReceiver, HttpReceiver, Ingest, KafkaSource, split_endpoint
from .kafka import ConsumerSettings, Kafka, OAuth, ProducerSettings, Sasl
from .root import Config
from .runtime import Runtime, Telemetry
from .security import ClientTls, ServerTls
from .shape import Shape
from .topics import TopicNames, Topics

__all__ = [
    "Backend",
    "ClientTls",
    "Config",
    "ConsumerSettings",
    "Cors",
    "Export",
    "GrpcReceiver",
    "HttpReceiver",
    "Ingest",
    "Kafka",
    "KafkaSource",
    "OAuth",
    "ProducerSettings",
    "Retry",
    "Runtime",
    "Sasl",
    "ServerTls",
    "Shape",
    "Telemetry",
    "TopicNames",
    "Topics",
    "split_endpoint",
]
