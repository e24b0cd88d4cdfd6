"""What can be set at run time, over ``control``: names, types, and whom they concern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .config import Config
from .config.problems import nearest
from .errors import ConfigurationError
from .records.base import Value

__all__ = ["LOG_LEVEL", "ControlSetting", "control_settings", "find_setting"]

LOG_LEVEL = "log.level"
_WORDS = {
    **dict.fromkeys(("true", "on", "yes"), True),
    **dict.fromkeys(("false", "off", "no"), False),
}


@dataclass(frozen=True, slots=True)
class ControlSetting:
    """One name."""

    name: str
    choices: tuple[Value, ...]
    """Values that it can have."""
    default: Value
    """What the configuration says."""
    description: str
    stage: str | None = None
    """A stage that pauses while the value is false; None: it concerns every process."""
    topic: str | None = None
    """Of the stage's topics, the one that pauses; None: all."""

    def parse(self, text: str) -> Value:
        """A value as a person writes it. Raises ConfigurationError."""
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
        # 1 == True, so equality alone would let numbers through.
        return value is None or any(
            type(value) is type(choice) and value == choice for choice in self.choices
        )


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
    settings += [
        ControlSetting(
            f"shape.enabled.{signal}",
            (True, False),
            True,
            f"Whether shape works on {signal}; while false they wait on their topic.",
            stage="shape",
            topic=config.topics.names.of(signal),
        )
        for signal in config.shape.signals
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


def find_setting(name: str, settings: Mapping[str, ControlSetting]) -> ControlSetting:
    """The setting called so. Raises ConfigurationError with the nearest name."""
    if name in settings:
        return settings[name]
    guess = nearest(name, settings)
    hint = f"; did you mean {guess}?" if guess else f"; there are {', '.join(settings)}"
    raise ConfigurationError(f"{name!r} cannot be set at run time{hint}")


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
