"""What can be set at run time, over ``control``: names, types, and whom they concern."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from .config import Config
from .config.alert_checks import check_rules
from .config.fields import format_value
from .config.load import load_rules
from .config.problems import nearest
from .config.sampling import adjustable
from .errors import ConfigurationError, OtlpStreamsError
from .records.base import Value
from .records.silences import Silences

__all__ = [
    "ALERT_RULES",
    "ALERT_SILENCES",
    "LOG_LEVEL",
    "TEXT_MAX_BYTES",
    "ControlSetting",
    "control_settings",
    "find_setting",
]

LOG_LEVEL = "log.level"
ALERT_RULES = "alerts.rules"
ALERT_SILENCES = "alerts.silences"
TEXT_MAX_BYTES = 200_000
"""Of a value that is a text: the record of who has changed it holds two of them."""
_WORDS = {
    **dict.fromkeys(("true", "on", "yes"), True),
    **dict.fromkeys(("false", "off", "no"), False),
}


@dataclass(frozen=True, slots=True)
class ControlSetting:
    """One name."""

    name: str
    choices: tuple[Value, ...]
    """Values that it can have; empty for a number."""
    default: Value
    """What the configuration says."""
    description: str
    stage: str | None = None
    """A stage, or the first part of several stages' names, that pauses while the value is false;
    None: it concerns every process."""
    topic: str | None = None
    """Of the stage's topics, the one that pauses; None: all."""
    model: FieldInfo | None = field(default=None, compare=False)
    """Of a number: the field of the configuration that says what it can be."""
    check: Callable[[str], object] | None = field(default=None, compare=False)
    """Of a text: raises OtlpStreamsError if it cannot be this one."""

    def concerns(self, stage: str) -> bool:
        """Whether it means something to a stage."""
        return self.stage in (None, stage) or stage.startswith(f"{self.stage}.")

    def parse(self, text: str) -> Value:
        """A value as a person writes it. Raises ConfigurationError."""
        if self.check is not None:
            self._checked(self.check, text)
            return text
        if self.model is not None:
            return self._number(self.model, text)
        value: Value = text
        if isinstance(self.default, bool):
            value = _WORDS.get(text.lower(), text)
        if self.valid(value):
            return value
        possible = [_shown(choice) for choice in self.choices]
        guess = nearest(text, possible)
        hint = f"; did you mean {guess}?" if guess else ""
        raise ConfigurationError(f"{self.name}: {text!r} is not one of {', '.join(possible)}{hint}")

    def valid(self, value: Any) -> bool:
        """Whether it can have this value; None: as the configuration says."""
        if self.check is not None and value is not None:
            return self._is_text(self.check, value)
        if self.model is not None and value is not None:
            return _is_number(value) and not _faults(self.model, value)
        # 1 == True, so equality alone would let numbers through.
        return value is None or any(
            type(value) is type(choice) and value == choice for choice in self.choices
        )

    def _number(self, model: FieldInfo, text: str) -> Value:
        if faults := _faults(model, text):
            raise ConfigurationError(f"{self.name}: {text!r}: {faults}")
        value: Value = _adapter(model).validate_python(text)
        return value

    def _checked(self, check: Callable[[str], object], text: str) -> None:
        size = len(text.encode())
        if size > TEXT_MAX_BYTES:
            raise ConfigurationError(f"{self.name}: {size} bytes; at most {TEXT_MAX_BYTES}")
        try:
            check(text)
        except ConfigurationError:
            raise
        except OtlpStreamsError as error:
            raise ConfigurationError(f"{self.name}: {error}") from None

    def _is_text(self, check: Callable[[str], object], value: Any) -> bool:
        if not isinstance(value, str):
            return False
        try:
            self._checked(check, value)
        except ConfigurationError:
            return False
        return True

    def shown(self, value: Value) -> str:
        """As a person would write it; of a text how long it is."""
        if self.check is not None:
            text = str(value)
            lines = len(text.splitlines())
            return f"{lines} line{'s' * (lines != 1)}" if text else "(none)"
        return _shown(value if self.model is None else format_value(self.model, value))


def control_settings(config: Config) -> Mapping[str, ControlSetting]:
    """Every name that means something to the stages of this configuration."""
    settings = [
        ControlSetting(
            LOG_LEVEL,
            ("debug", "info", "warning", "error"),
            config.telemetry.log_level,
            "Least severe log line that workers write.",
        )
    ]
    if config.sampling.enabled:
        settings += _sampling(config)
    settings += _alerting(config)
    settings += [
        ControlSetting(
            f"shape.enabled.{signal}",
            (True, False),
            True,
            f"Whether shape works on {signal}; while false they wait on their topic.",
            stage="shape",
            topic=config.topics.names.of(signal),
        )
        for signal in config.shaped
    ]
    settings += [
        ControlSetting(
            f"export.enabled.{backend}",
            (True, False),
            True,
            f"Whether {backend} is exported to; while false everything for it waits in Kafka.",
            stage=f"export.{backend}",
        )
        for backend in config.export.backends
    ]
    return {setting.name: setting for setting in settings}


def _sampling(config: Config) -> list[ControlSetting]:
    pauses = {
        "sample": "Whether sample decides; while false spans wait on their topic.",
        "emit": "Whether emit passes kept spans on; while false they wait on their topic.",
    }
    settings = [
        ControlSetting(f"{stage}.enabled", (True, False), True, meaning, stage=stage)
        for stage, meaning in pauses.items()
    ]
    settings += [
        ControlSetting(
            each.name,
            (),
            each.default,
            " ".join(each.description.split()),
            stage="sample",
            model=each.field,
        )
        for each in adjustable(config.sampling)
    ]
    return settings


def _alerting(config: Config) -> Iterator[ControlSetting]:
    pauses = {
        "windows": (config.windows.enabled, "windows are made; while false partials wait"),
        "detect": (config.alerts.enabled, "alert rules are evaluated; while false windows wait"),
    }
    for stage, (runs, meaning) in pauses.items():
        if runs:
            said = f"Whether {meaning} on their topic."
            yield ControlSetting(f"{stage}.enabled", (True, False), True, said, stage=stage)
    if config.alerts.enabled:
        yield ControlSetting(
            ALERT_RULES,
            (),
            "",
            "Alert rules instead of those of the configuration, YAML; the built-in ones stay.",
            stage="detect",
            check=partial(_rules, config),
        )
    for target in config.notify.targets:
        yield ControlSetting(
            f"notify.enabled.{target}",
            (True, False),
            True,
            f"Whether {target} is told of alerts; while false they wait on their topic.",
            stage=f"notify.{target}",
        )
    if config.notify.targets or config.alerts.enabled:
        yield ControlSetting(
            ALERT_SILENCES,
            (),
            "",
            "Alerts that nobody is told of, JSON; `otlp-streams alerts silence` writes it.",
            stage="notify",
            check=Silences.of_text,
        )


def _rules(config: Config, text: str) -> None:
    if text.strip():
        load_rules(text, ALERT_RULES, lambda rules: check_rules(rules, config.windows))


def find_setting(name: str, settings: Mapping[str, ControlSetting]) -> ControlSetting:
    """The setting called so. Raises ConfigurationError with the nearest name."""
    if name in settings:
        return settings[name]
    guess = nearest(name, settings)
    hint = f"; did you mean {guess}?" if guess else f"; there are {', '.join(settings)}"
    raise ConfigurationError(f"{name!r} cannot be set at run time{hint}")


def _adapter(model: FieldInfo) -> TypeAdapter[Any]:
    return TypeAdapter(model.rebuild_annotation())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _faults(model: FieldInfo, value: Any) -> str:
    """What is wrong with a number; empty if nothing is."""
    try:
        number = _adapter(model).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        return first[:1].lower() + first[1:]
    return "" if _is_number(number) and math.isfinite(number) else "must be a number"


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
