"""Who takes what a receiver has read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from schemas.signals import Signal

__all__ = ["Accepted", "Acceptor"]


class Accepted(NamedTuple):
    """What became of a request that was taken, wholly or in part.

    ``rejected`` items were refused for good; ``message`` says why. A message without rejected
    items is a warning (OTLP specification, Partial Success).
    """

    rejected: int = 0
    message: str = ""


Acceptor = Callable[[Signal, bytes, Mapping[str, str]], Awaitable[Accepted]]
"""Takes the signal, the uncompressed protobuf bytes of its Export*ServiceRequest and the request's
headers (lower-case names); returns once the request may be acknowledged.

Raises:
    MalformedMessage: the bytes are no such request; 400, INVALID_ARGUMENT.
    MessageTooLarge, TooManyItems: 413, RESOURCE_EXHAUSTED without RetryInfo.
    Overloaded: 429, RESOURCE_EXHAUSTED, with a retry hint.
    RetryableError: any other one, such as BrokerUnavailable; 503, UNAVAILABLE, with a retry hint.
"""
