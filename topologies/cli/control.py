"""``control set|unset|get|history``: what is changed while workers run."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigFile
from .values import AsJson, Reason, quiet_settings, set_value, show_history, show_values

__all__ = ["register"]

_control = typer.Typer(help="What is changed while workers run.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="One of `control get`.")]
SomeName = Annotated[str | None, typer.Argument(help="Only this one.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_control, name="control")


@_control.command("set")
def set_(
    name: Name,
    value: Annotated[str, typer.Argument(help="What to set it to.")],
    config: ConfigFile = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Set a value; every worker takes it over at its next batch boundary."""
    from schemas.control import control_settings, find_setting

    settings = quiet_settings(config)
    parsed = find_setting(name, control_settings(settings)).parse(value)
    set_value(settings, name, parsed, reason, as_json=as_json)


@_control.command()
def unset(
    name: Name, config: ConfigFile = None, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Take back what was set: as the configuration says again."""
    set_value(quiet_settings(config), name, None, reason, as_json=as_json)


@_control.command()
def get(name: SomeName = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what can be set, and what it is set to."""
    show_values(quiet_settings(config), name, as_json=as_json)


@_control.command()
def history(name: SomeName = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show who set what, and from which message on workers took it over."""
    show_history(quiet_settings(config), name, as_json=as_json)
