"""``alerts rules set|get|unset|history``: rules, changed while workers run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ConfigFile, text_of
from .values import AsJson, Reason, quiet_settings, set_value, show_history

if TYPE_CHECKING:
    from schemas.config import Config

__all__ = ["register"]


def register(rules: typer.Typer) -> None:
    """Add the commands of this module to ``alerts rules``."""
    rules.command("set")(set_)
    for command in (unset, get, history):
        rules.command()(command)


def set_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML: a list of rules.")],
    config: ConfigFile = None,
    reason: Reason = "",
) -> None:
    """Set the rules, in place of the configuration's; all of them are right, or none is set."""
    from schemas.control import ALERT_RULES, control_settings, find_setting
    from streams.alerts.rules import compile_rules

    settings, text = _settings(config), text_of(file)
    compile_rules(settings.alerts, settings.windows, text, str(file))
    value = find_setting(ALERT_RULES, control_settings(settings)).parse(text)
    set_value(settings, ALERT_RULES, value, reason)


def unset(config: ConfigFile = None, reason: Reason = "") -> None:
    """Take back what was set: the configuration's rules again."""
    from schemas.control import ALERT_RULES

    set_value(_settings(config), ALERT_RULES, None, reason)


def get(config: ConfigFile = None) -> None:
    """Print the rules that are set, as they were set."""
    import asyncio

    from schemas.control import ALERT_RULES
    from topologies.control.setting import current

    shown, ignored = asyncio.run(current(_settings(config)))
    for each in ignored:
        typer.echo(f"ignored: {each}", err=True)
    value = next(each.value for each in shown if each.name == ALERT_RULES)
    if value:
        typer.echo(str(value).rstrip("\n"))
    else:
        typer.echo("none are set: those of the configuration are in force", err=True)


def history(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show who set rules, and from which message on they are in force."""
    from schemas.control import ALERT_RULES

    show_history(_settings(config), ALERT_RULES, as_json=as_json)


def _settings(config: Path | None) -> Config:
    from schemas.errors import ConfigurationError

    settings = quiet_settings(config)
    if not settings.alerts.enabled:
        raise ConfigurationError("there are no rules: alerts.enabled is false")
    return settings
