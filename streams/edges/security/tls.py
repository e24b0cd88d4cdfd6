"""From TLS settings to what the libraries want: ``ssl`` contexts and gRPC credentials.

Every mistake in the files (missing, not PEM, key of another certificate, wrong password) is a
:class:`ConfigurationError` that names the setting and the file, never the password.

grpcio's servers know less of TLS than Python does: they speak 1.2 always. A setting that cannot
be kept is refused, not ignored.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    import grpc

    from schemas.config import ClientTls, ServerTls

__all__ = [
    "client_context",
    "grpc_server_credentials",
    "server_context",
]

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """Context of a client. Certificates are verified always, host names unless told not to."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.verify_hostname
    if tls.ca_file is not None:
        # Only these authorities: create_default_context() has already trusted the system's.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = tls.verify_hostname
        _trust(context, tls.ca_file, "tls.ca_file")
    if tls.cert_file is not None and tls.key_file is not None:
        password = tls.key_password.get_secret_value() if tls.key_password else None
        _load(context, tls.cert_file, tls.key_file, password)
    return context


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Context of a listening port; with ``client_ca_file`` a client must show a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    _load(context, tls.cert_file, tls.key_file, None)
    if tls.client_ca_file is not None:
        _trust(context, tls.client_ca_file, "tls.client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def grpc_server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Credentials of a gRPC server. Raises ConfigurationError for what gRPC cannot do."""
    import grpc  # noqa: PLC0415 - heavy, and a Kafka client's TLS needs none of it

    if tls.min_version != "1.2":
        raise ConfigurationError("tls.min_version: a gRPC port speaks TLS 1.2 and 1.3, always")
    server_context(tls)
    authorities = tls.client_ca_file.read_bytes() if tls.client_ca_file else None
    return grpc.ssl_server_credentials(
        [(tls.key_file.read_bytes(), tls.cert_file.read_bytes())],
        root_certificates=authorities,
        require_client_auth=authorities is not None,
    )


def _trust(context: ssl.SSLContext, ca_file: Path, setting: str) -> None:
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{setting}: {ca_file}: {_why(error)}") from None


def _load(context: ssl.SSLContext, cert_file: Path, key_file: Path, password: str | None) -> None:
    for setting, file in (("tls.cert_file", cert_file), ("tls.key_file", key_file)):
        try:
            file.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{setting}: {file}: {_why(error)}") from None
    try:
        # Without a callback OpenSSL would ask the terminal for a missing password.
        context.load_cert_chain(cert_file, key_file, lambda: password or "")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"tls.cert_file and tls.key_file: {cert_file}, {key_file}: {_why(error)}"
        ) from None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not readable as PEM"
    return getattr(error, "strerror", None) or "not readable as PEM"
