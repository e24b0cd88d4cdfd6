"""Which rules are in force from which message on, and over how many partitions series are spread.

Rules change by configuration and by the value of `alerts.rules` that is set at run time, partitions
by who adds some. Nothing of it is replayed, and what a message means depends on it: so each change
is written into the operator's log with the offset of the first message that it counts for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from schemas.config.alerts import Alerts
from schemas.config.windows import Windows
from schemas.errors import ConfigurationError
from schemas.records import MalformedRecord, Value

from .rules import Rule, compile_rules

__all__ = ["SETTING", "RuleText"]

SETTING = "alerts.rules"
_SIZE_MAX_BYTES = 256 << 10
"""Of the text: it must fit a record of the log, whatever is in it."""


class RuleText:
    """The rules that are wanted, and when those before came into force."""

    def __init__(self, alerts: Alerts, windows: Windows) -> None:
        self._alerts, self._windows = alerts, windows
        self.text: str | None = None
        """What was set at run time; None: nothing."""
        self.rules = self._compiled(None)
        """What is wanted."""
        self._scheduled: list[tuple[int, str | None, int]] = []

    def _compiled(self, text: str | None) -> tuple[Rule, ...]:
        return compile_rules(self._alerts, self._windows, text)

    def set(self, value: Value) -> None:
        """Want other rules; None: those of the configuration.

        Raises ConfigurationError, with lines: nothing has changed then.
        """
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{SETTING}: a text, not {value!r}")
        text = value if value and value.strip() else None
        if text is not None and len(text.encode()) > _SIZE_MAX_BYTES:
            raise ConfigurationError(f"{SETTING}: more than {_SIZE_MAX_BYTES:,} bytes")
        if text != self.text:
            self.rules = self._compiled(text)
            self.text = text

    def restore(self, text: str | None) -> None:
        """What was set some time ago; the configuration's rules if that is wrong by now."""
        try:
            self.set(text)
        except ConfigurationError:
            self.set(None)

    def differ(self, rules: Sequence[Rule]) -> bool:
        """Whether others are wanted than these."""
        return _versions(self.rules) != _versions(rules)

    # --- the log

    def encode(self, offset: int, partitions: int) -> bytes:
        """A record: what is wanted holds from this message on, for so many partitions."""
        said = {"offset": offset, "rules": self.text, "partitions": partitions}
        return json.dumps({"schema_version": 1, **said}).encode()

    def recall(self, value: bytes) -> None:
        """Take such a record back, for messages that are replayed. Raises MalformedRecord."""
        try:
            found = json.loads(value)
            offset, text = int(found["offset"]), found["rules"]
            partitions = int(found["partitions"])
        except (ValueError, TypeError, KeyError):
            raise MalformedRecord("no record of alert rules") from None
        self._scheduled.append((offset, text if isinstance(text, str) else None, partitions))

    def due(self, offset: int) -> bool:
        """Whether other rules held from this message on, or from one before it that was passed."""
        return bool(self._scheduled) and self._scheduled[0][0] <= offset

    def replay(self, offset: int) -> int:
        """Want what held for this message, which is ``due``; the number of partitions then."""
        partitions = 0
        while self.due(offset):
            _, text, partitions = self._scheduled.pop(0)
            self.restore(text)
        return partitions


def _versions(rules: Sequence[Rule]) -> list[tuple[str, str]]:
    return [(rule.name, rule.digest) for rule in rules]
