"""Silences as a person makes them, lists them and ends them. They are one value of ``control``."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from schemas.config import Config
from schemas.control import ALERT_SILENCES, control_settings, find_setting
from schemas.errors import ConfigurationError
from schemas.records import Value
from schemas.records.silences import SILENCES_MAX, Silence, Silences
from topologies.control.setting import Done, change_value, current, person

__all__ = ["KEPT_S", "add_silence", "expire_silences", "in_force", "phase", "silences"]

KEPT_S = 5 * 86_400.0
"""A silence that is over stays listed so long, as in Alertmanager."""


def phase(silence: Silence, now: datetime) -> str:
    """``pending``, ``active`` or ``expired``."""
    if now >= silence.ends_at:
        return "expired"
    return "active" if now >= silence.starts_at else "pending"


def in_force(text: Value) -> Silences:
    """What a value of the setting says. Raises MalformedRecord."""
    return Silences.of_text(str(text or ""))


async def silences(config: Config) -> tuple[Silence, ...]:
    """All that are listed. Raises ConfigurationError or BrokerUnavailable."""
    find_setting(ALERT_SILENCES, control_settings(config))
    shown, _ = await current(config)
    value = next(each.value for each in shown if each.name == ALERT_SILENCES)
    return in_force(value).silences


async def add_silence(
    config: Config,
    matchers: Sequence[str],
    starts_at: datetime,
    ends_at: datetime,
    comment: str = "",
) -> Silence:
    """Silence what fits all matchers.

    Raises:
        ConfigurationError: it would be no silence, or one too many, or Kafka refuses us.
        BrokerUnavailable: Kafka is away, or somebody else did the same at the same moment.
    """
    try:
        silence = Silence(
            id=str(uuid.uuid4()),
            matchers=tuple(matchers),
            starts_at=starts_at,
            ends_at=ends_at,
            who=person(),
            comment=comment,
        )
    except ValueError as error:
        raise ConfigurationError(_first(error)) from None
    await _change(config, lambda before: [*before, silence], comment or "silenced")
    return silence


async def expire_silences(config: Config, ids: Sequence[str]) -> list[Silence]:
    """End silences now; the first characters of an id are enough where they are no other's.

    What has not begun is taken away. Raises as :func:`add_silence`.
    """
    ended: list[Silence] = []

    def end(before: list[Silence]) -> list[Silence]:
        now = datetime.now(UTC)
        chosen = {_one(text, before).id for text in ids}
        left = []
        ended.clear()
        for each in before:
            if each.id in chosen:
                ended.append(each)
                if phase(each, now) == "pending":
                    continue
                if phase(each, now) == "active":
                    each = each.model_copy(update={"ends_at": now})  # noqa: PLW2901
            left.append(each)
        return left

    await _change(config, end, f"expired {', '.join(ids)}")
    return ended


async def _change(
    config: Config, change: Callable[[list[Silence]], list[Silence]], reason: str
) -> Done:
    setting = find_setting(ALERT_SILENCES, control_settings(config))

    def changed(before: Value) -> Value:
        oldest = datetime.now(UTC) - timedelta(seconds=KEPT_S)
        listed = [each for each in in_force(before).silences if each.ends_at > oldest]
        after = change(listed)
        if len(after) > SILENCES_MAX:
            raise ConfigurationError(f"there are {SILENCES_MAX} silences already, expired ones too")
        text = Silences(silences=tuple(after)).model_dump_json() if after else ""
        return setting.parse(text)

    return await change_value(config, ALERT_SILENCES, changed, reason)


def _one(text: str, known: Sequence[Silence]) -> Silence:
    found = [each for each in known if each.id.startswith(text)] if text else []
    if len(found) != 1:
        why = "several silences have such an id" if found else "there is no such silence"
        raise ConfigurationError(f"{text!r}: {why}")
    return found[0]


def _first(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return str(errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
