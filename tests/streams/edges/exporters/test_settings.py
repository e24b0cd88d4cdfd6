"""Backends that could not work are refused when the configuration is read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.config import Backend


@pytest.mark.parametrize(
    "settings",
    [
        {"protocol": "grpc", "endpoint": "backend:4317"},
        {"protocol": "grpc", "endpoint": "https://backend.example:4317/"},
        {"protocol": "grpc", "endpoint": "[::1]:4317"},
        {"endpoint": "https://backend.example/prefix"},
        {"headers": {"X-Scope-OrgID": "a b", "authorization": "Bearer x"}},
    ],
)
def test_what_is_taken(settings) -> None:
    Backend(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "grpc", "compression": "zstd", "endpoint": "b:1"}, "zstd is for http"),
        ({"endpoint": "backend:4318"}, "begins with http"),
        ({"endpoint": "http://"}, "an endpoint is"),
        ({"endpoint": "http://user:s3cret@backend"}, "no user, query or fragment"),
        ({"endpoint": "http://backend?key=s3cret"}, "no user, query or fragment"),
        ({"protocol": "grpc", "endpoint": "backend"}, "needs a port"),
        ({"protocol": "grpc", "endpoint": "http://backend:4317/v1"}, "no path"),
        ({"protocol": "grpc", "endpoint": "unix://socket:1"}, "an endpoint is"),
        ({"headers": {"Content-Encoding": "br"}}, "set by the exporter"),
        ({"headers": {"grpc-timeout": "1S"}}, "set by the exporter"),
        ({"headers": {"a b": "x"}}, "no header name"),
        ({"headers": {"key": "s3cret\r\nX-Other: 1"}}, "characters that no header may have"),
        ({"headers": {"key": "s3crét"}}, "characters that no header may have"),
    ],
)
def test_what_is_refused_and_without_secrets_of_headers(settings, message) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        Backend(**settings)
    assert "s3cr" not in str([e["msg"] for e in caught.value.errors()])
    if "headers" in settings:
        assert "s3cr" not in str(caught.value)
