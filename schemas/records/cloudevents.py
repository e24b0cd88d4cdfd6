"""CloudEvents 1.0 in Kafka's binary content mode: what an event is about, as headers.

By the Kafka protocol binding 1.0.2, section 3.2: ``content-type`` is the event's
``datacontenttype``, every other attribute is a header ``ce_`` and its name with its value in
UTF-8, and the record's value is the data. The attributes and what they may say are those of the
core specification 1.0.2, section 3.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from ..batches import Headers
from .base import MalformedRecord, NewerVersion

__all__ = ["CloudEvent", "from_headers", "to_headers"]

CONTENT_TYPE = "content-type"
_PREFIX = "ce_"
_VERSION = "1.0"
_REQUIRED = ("id", "source", "type")
_STRUCTURED = "application/cloudevents"
_NO_CHARACTERS = "".join(chr(plane << 16 | 0xFFFE | last) for plane in range(17) for last in (0, 1))
_FORBIDDEN = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NO_CHARACTERS}]")
"""Characters that no attribute may have (section 3.1, type String)."""
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class CloudEvent(NamedTuple):
    """Context attributes of an event."""

    id: str
    """With ``source``, tells it from every other event; the same when it is sent again."""
    source: str
    """Who tells it; a URI reference."""
    type: str
    """What kind of event, with a reversed domain before it."""
    time: datetime | None = None
    """When it happened."""
    subject: str = ""
    """What it is about; empty: it is not said."""
    content_type: str = "application/json"
    """Of the data (``datacontenttype``)."""


def to_headers(event: CloudEvent) -> Headers:
    """Headers of a Kafka record."""
    texts = {
        "specversion": _VERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": "" if event.time is None else _time(event.time),
    }
    # An attribute that is not said has no header: values must not be empty.
    attributes = [
        (_PREFIX + name, clean.encode())
        for name, text in texts.items()
        if (clean := _FORBIDDEN.sub("", text))
    ]
    return (*attributes, (CONTENT_TYPE, event.content_type.encode()))


def from_headers(headers: Headers) -> CloudEvent:
    """What headers of a Kafka record say; extension attributes are passed over.

    Raises:
        NewerVersion: another ``specversion`` than 1.x.
        MalformedRecord: these are no headers of an event in binary mode.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name == CONTENT_TYPE or name.startswith(_PREFIX):
            if name in found:
                raise MalformedRecord(f"header {name} is there twice")
            try:
                found[name] = value.decode()
            except UnicodeDecodeError:
                raise MalformedRecord(f"header {name} is not UTF-8") from None
    content_type = found.get(CONTENT_TYPE, "")
    if content_type.lower().startswith(_STRUCTURED):
        raise MalformedRecord("a CloudEvent in structured mode; these are in binary mode")
    version = found.get(f"{_PREFIX}specversion", "")
    if not version:
        raise MalformedRecord("no CloudEvent: header ce_specversion is missing")
    if not version.startswith("1."):
        raise NewerVersion(f"CloudEvent of specversion {version}, this release reads 1.x")
    for name in _REQUIRED:
        if not found.get(_PREFIX + name):
            raise MalformedRecord(f"no CloudEvent: header {_PREFIX}{name} is missing")
    said = found.get(f"{_PREFIX}time")
    return CloudEvent(
        id=found[f"{_PREFIX}id"],
        source=found[f"{_PREFIX}source"],
        type=found[f"{_PREFIX}type"],
        time=None if said is None else _read_time(said),
        subject=found.get(f"{_PREFIX}subject", ""),
        content_type=content_type,
    )


def _time(time: datetime) -> str:
    """RFC 3339, in UTC, milliseconds where there are any."""
    utc = time.astimezone(UTC)
    text = utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def _read_time(text: str) -> datetime:
    if _RFC3339.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:
            pass
    raise MalformedRecord(f"no CloudEvent: header ce_time is no time of RFC 3339: {text[:50]!r}")
