"""TLS settings against real handshakes; mistakes are named, passwords never."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from schemas.config import ClientTls, ServerTls
from schemas.errors import ConfigurationError
from streams.edges.security import (
    client_context,
    grpc_server_credentials,
    server_context,
)
from tests.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[str | None, Exception | None]:
    """TLS version as the client saw it after one byte each way, and the client's error."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as tls:
                tls.sendall(tls.recv(1))
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as tls:
            tls.sendall(b"x")
            if tls.recv(1) != b"x":
                raise ssl.SSLError("closed")
            return tls.version(), None
    except OSError as error:
        return None, error
    finally:
        ours.close()
        thread.join(10)
        assert not thread.is_alive()


def test_a_client_trusts_its_authority_and_nobody_else(
    authority: Authority, stranger: Authority
) -> None:
    pair = authority.issue("server")
    server = server_context(ServerTls(cert_file=pair.cert_file, key_file=pair.key_file))
    assert handshake(server, client_context(ClientTls(ca_file=authority.ca_file))) == (
        "TLSv1.3",
        None,
    )
    for tls in (ClientTls(ca_file=stranger.ca_file), ClientTls()):
        _, error = handshake(server, client_context(tls))
        assert isinstance(error, ssl.SSLCertVerificationError)


def test_the_host_name_counts_unless_told_otherwise(authority: Authority) -> None:
    pair = authority.issue("elsewhere", hosts=("elsewhere.example",))
    server = server_context(ServerTls(cert_file=pair.cert_file, key_file=pair.key_file))
    strict = ClientTls(ca_file=authority.ca_file)
    _, error = handshake(server, client_context(strict))
    assert isinstance(error, ssl.SSLCertVerificationError)
    lax = client_context(strict.model_copy(update={"verify_hostname": False}))
    assert handshake(server, lax)[1] is None
    assert lax.verify_mode is ssl.CERT_REQUIRED


def test_mutual_tls_lets_in_who_shows_a_certificate(
    authority: Authority, stranger: Authority
) -> None:
    pair, client = authority.issue("server"), authority.issue("client", password="open sesame")
    server = server_context(
        ServerTls(
            cert_file=pair.cert_file, key_file=pair.key_file, client_ca_file=authority.ca_file
        )
    )
    base = {"ca_file": authority.ca_file}
    good = {**base, "cert_file": client.cert_file, "key_file": client.key_file}
    assert handshake(server, client_context(ClientTls(**good, key_password="open sesame"))) == (
        "TLSv1.3",
        None,
    )
    assert handshake(server, client_context(ClientTls(**base)))[1] is not None
    other = stranger.issue("client")
    bad = {**base, "cert_file": other.cert_file, "key_file": other.key_file}
    assert handshake(server, client_context(ClientTls(**bad)))[1] is not None


def test_the_oldest_version_is_kept_to(authority: Authority) -> None:
    pair = authority.issue("server")
    files = {"cert_file": pair.cert_file, "key_file": pair.key_file}
    client = client_context(ClientTls(ca_file=authority.ca_file))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(server_context(ServerTls(**files)), client)[0] == "TLSv1.2"
    assert handshake(server_context(ServerTls(**files, min_version="1.3")), client)[1] is not None


def test_client_mistakes_are_named(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.issue("client"), authority.issue("other")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing here")
    files = {"cert_file": pair.cert_file, "key_file": pair.key_file}
    cases = {
        "tls.ca_file.*missing.pem.*No such file": {"ca_file": tmp_path / "missing.pem"},
        "tls.ca_file.*nonsense.pem": {"ca_file": nonsense},
        "tls.key_file.*missing.key.*No such file": {**files, "key_file": tmp_path / "missing.key"},
        "tls.cert_file and tls.key_file.*KEY_VALUES_MISMATCH": {
            **files,
            "key_file": other.key_file,
        },
        "tls.cert_file and tls.key_file.*nonsense": {**files, "cert_file": nonsense},
    }
    for message, settings in cases.items():
        with pytest.raises(ConfigurationError, match=message):
            client_context(ClientTls(**settings))


def test_server_mistakes_are_named(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("server")
    missing = tmp_path / "missing.pem"
    for make in (server_context, grpc_server_credentials):
        with pytest.raises(ConfigurationError, match=r"tls.cert_file.*missing.pem"):
            make(ServerTls(cert_file=missing, key_file=pair.key_file))
        with pytest.raises(ConfigurationError, match=r"tls.client_ca_file.*missing.pem"):
            make(
                ServerTls(cert_file=pair.cert_file, key_file=pair.key_file, client_ca_file=missing)
            )


def test_a_wrong_password_is_an_error_without_the_password(authority: Authority) -> None:
    pair = authority.issue("locked", password="open sesame")
    files = {"cert_file": pair.cert_file, "key_file": pair.key_file}
    for password in ("wrong-word", None):
        with pytest.raises(ConfigurationError) as caught:
            client_context(ClientTls(**files, key_password=password))
        assert "wrong-word" not in str(caught.value)


def test_what_grpc_cannot_do_is_refused(authority: Authority) -> None:
    pair = authority.issue("server")
    files = {"cert_file": pair.cert_file, "key_file": pair.key_file}
    with pytest.raises(ConfigurationError, match=r"tls\.min_version"):
        grpc_server_credentials(ServerTls(**files, min_version="1.3"))
