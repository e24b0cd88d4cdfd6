"""TLS for everything that listens or connects."""

from .tls import (
    client_context,
    grpc_server_credentials,
    server_context,
)

__all__ = [
    "client_context",
    "grpc_server_credentials",
    "server_context",
]
