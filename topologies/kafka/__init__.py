"""Clients of Kafka as the settings describe them, and the topics they need."""

from .admin import AdminClient, open_admin
from .clients import MESSAGE_OVERHEAD_BYTES, client_options, create_consumer, create_producer
from .connection import as_ours, check_connection, start_client
from .topics import (
    Difference,
    TopicReport,
    TopicState,
    check_topics,
    create_topics,
    ensure_topics,
    list_topics,
)

__all__ = [
    "MESSAGE_OVERHEAD_BYTES",
    "AdminClient",
    "Difference",
    "TopicReport",
    "TopicState",
    "as_ours",
    "check_connection",
    "check_topics",
    "client_options",
    "create_consumer",
    "create_producer",
    "create_topics",
    "ensure_topics",
    "list_topics",
    "open_admin",
    "start_client",
]
