"""The tree of errors. Where an error stands in it decides what the runtime does.

    OtlpStreamsError
    ├── ConfigurationError          the boot path stops, exit 78
    ├── PermanentError              never retried: refused, or to the dead-letter topic
    │   ├── MalformedMessage        bytes that are not the message they should be
    │   ├── MessageTooLarge         beyond a size limit that has a name
    │   ├── TooManyItems            more in one request than is read at once
    │   ├── ItemsRejected           some items of a message are wrong, the others were taken
    │   ├── UnsupportedEncoding     a compression or content type we do not speak
    │   ├── BackendRefused          a backend said no and a second try would hear the same
    │   └── RetriesExhausted        a backend did not take it in the time it was given
    └── RetryableError              the same call may succeed later; may say when
        ├── Overloaded              a bound of our own is reached
        ├── BrokerUnavailable       Kafka did not take it, or did not answer
        └── BackendUnavailable      the backend did not take it, or did not answer

Anything else that reaches the runtime is a defect: the process ends non-zero, and what was
in flight is read again.
"""

from __future__ import annotations

__all__ = [
    "BackendRefused",
    "BackendUnavailable",
    "BrokerUnavailable",
    "ConfigurationError",
    "ItemsRejected",
    "MalformedMessage",
    "MessageTooLarge",
    "OtlpStreamsError",
    "Overloaded",
    "PermanentError",
    "RetriesExhausted",
    "RetryableError",
    "TooManyItems",
    "UnsupportedEncoding",
]


class OtlpStreamsError(Exception):
    """Root of everything that this project raises on purpose."""


class ConfigurationError(OtlpStreamsError):
    """A setting is wrong; the message names its path, its value and the nearest valid name."""


class PermanentError(OtlpStreamsError):
    """Trying again cannot help. ``reason`` is a short, stable label for counters.

    ``remainder`` is what of the message is meant, when the rest of it was taken; None: all.
    """

    reason = "permanent"
    remainder: bytes | None = None


class MalformedMessage(PermanentError):
    """Bytes that do not parse. ``offset`` is the byte at which reading had to stop."""

    reason = "malformed"

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(f"{message} at byte {offset}")
        self.offset = offset


class MessageTooLarge(PermanentError):
    """A named size limit was exceeded."""

    reason = "too_large"

    def __init__(self, what: str, size_bytes: int, limit: str, limit_bytes: int) -> None:
        super().__init__(f"{what} has {size_bytes} bytes, {limit} allows {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class TooManyItems(PermanentError):
    """One request holds more items, or more of what groups them, than are read at once."""

    reason = "too_many_items"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"more than {limit:,} items, or resources, scopes and metrics, in one request; "
            "send fewer at a time"
        )
        self.limit = limit


class ItemsRejected(PermanentError):
    """Single items were refused and everything else of the message was taken."""

    reason = "items_rejected"

    def __init__(self, message: str, remainder: bytes) -> None:
        super().__init__(message)
        self.remainder = remainder


class UnsupportedEncoding(PermanentError):
    """A compression or a content type that is not spoken here."""

    reason = "unsupported_encoding"


class BackendRefused(PermanentError):
    """A backend's final no; ``code`` is its gRPC or HTTP status, as text."""

    reason = "refused"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class RetriesExhausted(PermanentError):
    """Retryable failures only, for as long as ``retry.max_elapsed`` allows."""

    reason = "retries_exhausted"


class RetryableError(OtlpStreamsError):
    """The same call may succeed later, ``retry_after_s`` from now if the other side said when."""

    reason = "retryable"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(RetryableError):
    """A bound of our own (bytes in flight, requests) is reached."""

    reason = "overloaded"


class BrokerUnavailable(RetryableError):
    """Kafka did not acknowledge."""

    reason = "broker_unavailable"


class BackendUnavailable(RetryableError):
    """A backend did not answer, or asked to be tried again."""

    reason = "backend_unavailable"
