"""TLS as clients and servers of this project use it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import SecretStr, model_validator

from .base import Settings

__all__ = ["ClientTls", "ServerTls"]


class ClientTls(Settings):
    """TLS towards a broker or a backend."""

    enabled: bool = False
    """Speak TLS."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust; the system's when unset."""
    cert_file: Path | None = None
    """PEM file of the client certificate, for mutual TLS."""
    key_file: Path | None = None
    """PEM file of the client key."""
    key_password: SecretStr | None = None
    """Password of the client key."""
    verify_hostname: bool = True
    """Refuse a certificate that does not name the host."""

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        return self


class ServerTls(Settings):
    """TLS of a listening port."""

    cert_file: Path
    """PEM file of the server certificate and its chain."""
    key_file: Path
    """PEM file of the server key."""
    client_ca_file: Path | None = None
    """PEM file of the authorities whose clients are let in; unset asks for no certificate."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest TLS version that is spoken."""
