"""Records with a format of our own, beside the OTLP that everything else is.

On the wire each is one JSON object in UTF-8 with ``schema_version``. The rules for readers:

- a field that is not known is ignored; nobody writes back what somebody else wrote
- new optional fields do not raise ``schema_version``; it is raised when an old reader would
  misunderstand
- a record of a newer version than the reader knows is refused (:class:`NewerVersion`), never
  guessed at

``docs/records.md`` is made from these models.
"""

from .alerts import AlertEvent
from .audit import Audit, OffsetRange
from .base import MalformedRecord, NewerVersion, Value, VersionedRecord
from .control import Control
from .deadletter import DeadLetter

__all__ = [
    "AlertEvent",
    "Audit",
    "Control",
    "DeadLetter",
    "MalformedRecord",
    "NewerVersion",
    "OffsetRange",
    "Value",
    "VersionedRecord",
]
