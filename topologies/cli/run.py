"""``run``: a stage here, or several supervised; ``health``, ``metrics``: ask what runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.config import Config
    from topologies.boot import Boot
    from topologies.supervisor import Instance

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
    app.command()(health)
    app.command()(metrics)


def run(  # noqa: PLR0917 - typer calls it by name
    stages: Annotated[
        list[str],
        typer.Argument(
            metavar="STAGE...",
            help="ingest, sample, emit, shape, windows, detect, notify, notify:TARGET, export, "
            "export:BACKEND, or all.",
        ),
    ],
    config: ConfigFile = None,
    workers: Annotated[
        int, typer.Option("--workers", "-n", min=1, max=256, help="Processes of each stage.")
    ] = 1,
    admin_endpoint: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Overrides telemetry.endpoint."),
    ] = None,
    shared_ports: Annotated[bool, typer.Option("--shared-ports", hidden=True)] = False,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    log_format: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run stages until SIGTERM or Ctrl-C; several run as one process each, supervised."""
    from topologies.boot import boot

    if parent is not None:
        from topologies.cli.parent import die_with

        die_with(parent)
    booted = boot(config, stages)
    booted = booted._replace(config=_override(booted.config, admin_endpoint, log_format))
    if len(booted.stages) == 1 and workers == 1:
        code = _here(booted, worker, shared_ports=shared_ports)
    else:
        code = _supervised(booted, workers, config)
    raise typer.Exit(code)


def _override(config: Config, endpoint: str | None, log_format: str | None) -> Config:
    changes = {"endpoint": endpoint, "log_format": log_format}
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        return config
    from pydantic import ValidationError

    from schemas.config import Telemetry
    from schemas.errors import ConfigurationError

    try:
        telemetry = Telemetry.model_validate({**config.telemetry.model_dump(), **changes})
    except ValidationError as error:
        raise ConfigurationError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return config.model_copy(update={"telemetry": telemetry})


def _here(booted: Boot, worker: int | None, *, shared_ports: bool) -> int:
    """One stage in this process."""
    import asyncio
    import importlib

    import uvloop

    from streams.edges.platform import configure_logs

    stage, _, name = booted.stages[0].partition(":")
    fields = {} if worker is None else {"stage": booted.stages[0], "worker": str(worker)}
    configure_logs(booted.config.telemetry, fields)
    booted = booted._replace(config=_as_member(booted.config, worker))
    # A process needs what its own stage needs, and no more.
    module = importlib.import_module(f"topologies.{stage}")
    if stage == "ingest":
        work = module.run(booted.config, shared_ports=shared_ports)
    else:
        work = module.run(booted.config, *([name] if name else []))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
    return 0


def _as_member(config: Config, worker: int | None) -> Config:
    """Workers of one stage are members of one group: each needs a group.instance.id of its own."""
    name = config.kafka.consumer.instance_id
    if name is None or worker is None:
        return config
    consumer = config.kafka.consumer.model_copy(update={"instance_id": f"{name}-{worker}"})
    kafka = config.kafka.model_copy(update={"consumer": consumer})
    return config.model_copy(update={"kafka": kafka})


def _supervised(booted: Boot, workers: int, file: Path | None) -> int:
    """Each stage in processes of its own."""
    import asyncio
    import sys

    from streams.edges.platform import configure_logs
    from topologies.supervisor import Supervisor, instances

    configure_logs(booted.config.telemetry)
    log_format = booted.config.telemetry.log_format
    terminal = sys.stderr.isatty()
    if log_format == "auto":
        log_format = "console" if terminal else "json"
    wanted = instances(booted.stages, workers)

    async def supervise() -> int:
        import signal

        supervisor = Supervisor(
            booted.config,
            wanted,
            lambda instance: _command(instance, file, log_format, shared=workers > 1),
            environment={"FORCE_COLOR": "1"} if terminal and log_format == "console" else {},
            prefixed=log_format == "console",
            coloured=terminal,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        return await supervisor.run()

    return asyncio.run(supervise())


def _command(
    instance: Instance, file: Path | None, log_format: str, *, shared: bool
) -> Sequence[str]:
    import os
    import sys

    command = [sys.executable, "-m", "topologies.cli.main", "run", instance.stage]
    if file is not None:
        command += ["--config", str(file)]
    command += ["--admin-endpoint", "127.0.0.1:0", "--log-format", log_format]
    command += ["--worker", str(instance.worker), "--parent", str(os.getpid())]
    return [*command, "--shared-ports"] if shared else command


def health(
    config: ConfigFile = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Default: telemetry.endpoint.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask /livez instead of /readyz.")] = False,
) -> None:
    """Ask a running process whether it is ready; exit 0 if so, 1 if not."""
    import http.client

    if endpoint is None:
        from topologies.boot import read_config

        endpoint = read_config(config)[0].telemetry.endpoint
    host, _, port = endpoint.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared only
    connection = http.client.HTTPConnection(f"{host}:{port}", timeout=5)
    try:
        connection.request("GET", "/livez" if live else "/readyz")
        answer = connection.getresponse()
        typer.echo(answer.read().decode())
    except OSError as error:
        typer.echo(f"{endpoint} does not answer: {error.strerror or error}")
        raise typer.Exit(1) from None
    finally:
        connection.close()
    raise typer.Exit(0 if answer.status == 200 else 1)


def metrics() -> None:
    """Print every metric with type, labels and meaning, as Markdown."""
    from topologies.catalogue import to_markdown

    typer.echo(to_markdown(), nl=False)
