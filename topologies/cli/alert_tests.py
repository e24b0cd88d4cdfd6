"""``alerts test`` and ``alerts rules check|builtin``: rules without Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile, text_of

__all__ = ["register", "rules"]

rules = typer.Typer(help="Alert rules.", no_args_is_help=True)
"""More is added by alert_rules.py."""


def register(alerts: typer.Typer) -> None:
    """Add the commands of this module to ``alerts``."""
    alerts.command()(test)
    alerts.add_typer(rules, name="rules")


def test(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of tests.")],
) -> None:
    """Run unit tests of alert rules, in the manner of `promtool test rules`.

    Exit code 1 if a test fails. docs/alerts.md tells how such a file looks.
    """
    from streams.alerts.testing import load_tests, run_test

    failed = 0
    for file in files:

        def read(name: str, directory: Path = file.parent) -> str:
            return text_of(directory / name)

        tests, found = load_tests(text_of(file), str(file), read)
        failures = [failure for each in tests.tests for failure in run_test(each, found)]
        failed += len(failures)
        checks = sum(len(each.alert_rule_test) for each in tests.tests)
        if not failures:
            typer.echo(f"{file}: SUCCESS ({checks} checks)")
            continue
        typer.echo(f"{file}: FAILED ({len(failures)} of {checks} checks)")
        for failure in failures:
            typer.echo("\n".join(f"  {line}" for line in str(failure).splitlines()))
    if failed:
        raise typer.Exit(1)


@rules.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of rules.")],
    config: ConfigFile = None,
) -> None:
    """Check files of alert rules against the windows of the configuration."""
    from streams.alerts.rules import compile_rules
    from topologies.boot import read_config

    settings = read_config(config)[0]
    for file in files:
        found = compile_rules(settings.alerts, settings.windows, text_of(file), str(file))
        given = [rule.name for rule in found if not rule.builtin]
        built_in = len(found) - len(given)
        typer.echo(f"{file} is fine: {', '.join(given) or 'no rules'}; and {built_in} built in.")


@rules.command()
def builtin() -> None:
    """Print the built-in rules."""
    from streams.alerts.builtin import BUILTIN

    typer.echo(BUILTIN, nl=False)
