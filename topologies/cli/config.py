"""``validate`` and ``config show|reference``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile

__all__ = ["register"]

_config = typer.Typer(help="Look at the configuration.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(validate)
    app.add_typer(_config, name="config")


def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file.")],
    stages: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="Stages that will be run.")
    ] = None,
) -> None:
    """Check a configuration file by the very path that `run` takes; touches no network."""
    from topologies.boot import boot

    checked = boot(file, stages or ["all"])
    typer.echo(f"{checked.source} is fine; it can run {', '.join(checked.stages)}.")


@_config.command()
def show(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of YAML.")] = False,
) -> None:
    """Print the effective configuration, defaults included, secrets masked."""
    import json
    import sys

    from ruamel.yaml import YAML

    from schemas.config.reference import effective
    from topologies.boot import read_config

    settings = effective(read_config(config)[0])
    if as_json:
        typer.echo(json.dumps(settings, indent=2))
        return
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(settings, sys.stdout)


@_config.command()
def reference() -> None:
    """Print every setting with type, default, range and meaning, as Markdown."""
    from schemas.config.reference import to_markdown

    typer.echo(to_markdown(), nl=False)
