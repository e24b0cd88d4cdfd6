"""``sampling``: numbers of policies, changed while workers run; and policies, tried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ConfigFile
from .values import (
    AsJson,
    Reason,
    print_json,
    quiet_settings,
    set_value,
    show_history,
    show_values,
)

if TYPE_CHECKING:
    from schemas.config import Config

__all__ = ["register"]

_sampling = typer.Typer(
    help="Policies: what they are set to, and what they would keep.", no_args_is_help=True
)
_PREFIX = "sampling."
SomeName = Annotated[
    str | None, typer.Argument(metavar="[POLICY.SETTING]", help="Only this one.")
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_sampling, name="sampling")


@_sampling.command("set")
def set_(
    assignments: Annotated[
        list[str],
        typer.Argument(
            metavar="POLICY.SETTING=VALUE...", help="Such as rest.traces_per_second=500."
        ),
    ],
    config: ConfigFile = None,
    reason: Reason = "",
) -> None:
    """Set numbers of policies; every worker takes them over at its next batch boundary."""
    from schemas.control import control_settings, find_setting
    from schemas.errors import ConfigurationError

    settings = _settings(config)
    known = control_settings(settings)
    wanted = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigurationError(f"{assignment!r} is not POLICY.SETTING=VALUE")
        name = _full(name)
        wanted.append((name, find_setting(name, known).parse(text)))
    for name, value in wanted:  # all of them are possible, or none is set
        set_value(settings, name, value, reason)


@_sampling.command()
def unset(
    names: Annotated[
        list[str], typer.Argument(metavar="POLICY.SETTING...", help="As `sampling get` has them.")
    ],
    config: ConfigFile = None,
    reason: Reason = "",
) -> None:
    """Take back what was set: as the configuration says again."""
    from schemas.control import control_settings, find_setting

    settings = _settings(config)
    known = control_settings(settings)
    for name in [find_setting(_full(name), known).name for name in names]:
        set_value(settings, name, None, reason)


@_sampling.command()
def get(name: SomeName = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the numbers of policies that can be set, and what they are set to."""
    named = None if name is None else _full(name)
    show_values(_settings(config), named, prefix=_PREFIX, as_json=as_json)


@_sampling.command()
def history(name: SomeName = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show who set what, and from which message on workers took it over."""
    named = None if name is None else _full(name)
    show_history(_settings(config), named, prefix=_PREFIX, as_json=as_json)


@_sampling.command()
def simulate(  # noqa: PLR0917 - typer calls it by name
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings of spans, as of `replay`.")
    ],
    config: ConfigFile = None,
    speed: Annotated[
        float, typer.Option(metavar="FACTOR", min=0.001, help="Times as much traffic as recorded.")
    ] = 1.0,
    laps: Annotated[
        int, typer.Option(min=1, max=10_000, help="So often, with other ids each time.")
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of other ids than recorded: other traces are chosen."),
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND:SERVICE@START+DURATION", help="Faults, as of `replay`."),
    ] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Default: topics.partitions.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE.svg|FILE.png", help="Draw a picture.")
    ] = None,
    keys: Annotated[int, typer.Option(min=0, help="Sampling keys that are listed.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what the policies would keep of a recording: no Kafka, as fast as it goes."""
    from rich.console import Console

    from schemas.errors import ConfigurationError
    from topologies.simulation import FORMATS, Plan, as_dict, draw, show
    from topologies.simulation import simulate as run

    if image is not None and image.suffix.lower().removeprefix(".") not in FORMATS:
        raise ConfigurationError(f"{image}: a picture is {' or '.join(FORMATS)}")
    settings = quiet_settings(config)
    done = run(settings, Plan(files, speed, laps, seed, inject or (), partitions))
    if as_json:
        print_json(as_dict(done))
    else:
        console = Console()
        if console.width < 120 and not console.is_terminal:
            console.width = 160
        show(done, console, keys)
    if image is not None:
        draw(done, settings.sampling, image, ", ".join(file.name for file in files))


def _full(name: str) -> str:
    """As ``control`` calls it."""
    return name if name.startswith(_PREFIX) else _PREFIX + name


def _settings(config: Path | None) -> Config:
    from schemas.errors import ConfigurationError

    settings = quiet_settings(config)
    if not settings.sampling.enabled:
        raise ConfigurationError("there is nothing to set: sampling.enabled is false")
    return settings
