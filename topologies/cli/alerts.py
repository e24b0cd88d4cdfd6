"""``alerts``: what there is to say about alerts."""

from __future__ import annotations

import typer

from . import alert_tests

__all__ = ["register"]

_alerts = typer.Typer(help="Alerts and their rules.", no_args_is_help=True)
alert_tests.register(_alerts)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_alerts, name="alerts")
