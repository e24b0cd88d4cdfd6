"""``replay``: send a recording as an OTLP client would."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.signals import Signal

from .options import ConfigFile

if TYPE_CHECKING:
    from schemas.config import Backend

__all__ = ["register"]


class Protocol(StrEnum):
    """OTLP transports."""

    GRPC = "grpc"
    HTTP = "http"


class Compression(StrEnum):
    """Of requests."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(replay)


def replay(  # noqa: PLR0917 - typer calls it by name
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Frames or OTLP/JSON lines, also zstd.")
    ],
    config: ConfigFile = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="host:port or URL; default: where the configured ingest listens."),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="OTLP transport.")] = Protocol.GRPC,
    compression: Annotated[
        Compression, typer.Option(help="Of requests; zstd over http only.")
    ] = Compression.NONE,
    signal: Annotated[
        Signal | None, typer.Option(help="What frames hold, where the file name does not say it.")
    ] = None,
    speed: Annotated[
        str, typer.Option(metavar="FACTOR|max", help="Times as fast as recorded.")
    ] = "1",
    rate: Annotated[
        float | None, typer.Option(metavar="PER_S", help="Spans a second instead of a speed.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Shift times to the present.")] = False,
    loop: Annotated[
        bool, typer.Option("--loop", help="Again and again, each lap with ids of its own.")
    ] = False,
    laps: Annotated[int | None, typer.Option(min=1, help="So many laps; implies --loop.")] = None,
    fresh_ids: Annotated[
        bool, typer.Option("--fresh-ids", help="Other ids than recorded; --loop implies it.")
    ] = False,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:SERVICE@START+DURATION",
            help="errors, latency, load or silence, with options: "
            "errors:cart@20s+30s,rate=0.5 (also ancestors=true), "
            "latency:*@0s+1m,factor=5,add=10ms, load:cart@10s+10s,factor=3, "
            "silence:cart@2023-01-29T08:43:00Z+1m.",
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was injected, as JSON lines.")
    ] = None,
    ids: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the identity of acknowledged items.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of fresh ids and injections; default: by chance.")
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="SIZE", help="Join consecutive requests up to this size.")
    ] = "0",
    concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="Requests under way.")] = 32,
    connections: Annotated[int, typer.Option(min=1, max=1000, help="Connections.")] = 2,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Per request.")] = "10s",
    give_up: Annotated[
        str, typer.Option(metavar="DURATION", help="A request is tried again for so long.")
    ] = "1m",
    as_json: Annotated[bool, typer.Option("--json", help="Summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Send a recording as an OTLP client would; exit 1 if something was not acknowledged."""
    import asyncio
    import secrets

    import numpy as np

    from schemas.config.units import parse_size
    from schemas.errors import ConfigurationError
    from topologies.replay import Pace, load
    from topologies.replay.session import Settings
    from topologies.replay.session import replay as run

    seed = secrets.randbits(63) if seed is None else seed
    try:
        batch_max_bytes = parse_size(batch)
    except ValueError as error:
        raise ConfigurationError(f"--batch: {error}") from None
    settings = Settings(
        backend=_backend(config, endpoint, protocol, compression, connections, timeout, give_up),
        pace=Pace.parse(speed, rate),
        laps=laps if laps is not None else None if loop else 1,
        now=now,
        fresh_ids=fresh_ids or loop or laps is not None,
        concurrency=concurrency,
        seed=seed,
        ids_file=ids,
        truth_file=truth,
        as_json=as_json,
        quiet=quiet,
    )
    recording = load(
        files,
        signal=signal,
        injections=inject or (),
        batch_max_bytes=batch_max_bytes,
        rng=np.random.default_rng(seed),
    )
    complete = asyncio.run(run(recording, settings))
    raise typer.Exit(0 if complete else 1)


def _backend(  # noqa: PLR0917
    config: Path | None,
    endpoint: str | None,
    protocol: Protocol,
    compression: Compression,
    connections: int,
    timeout: str,
    give_up: str,
) -> Backend:
    from pydantic import ValidationError

    from schemas.config import Backend, split_endpoint
    from schemas.errors import ConfigurationError
    from topologies.boot import read_config

    if endpoint is None:
        ingest = read_config(config)[0].ingest
        listener = ingest.grpc if protocol is Protocol.GRPC else ingest.http
        host, port = split_endpoint(listener.endpoint)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
        endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if protocol is Protocol.HTTP and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    try:
        return Backend.model_validate(
            {
                "protocol": protocol.value,
                "endpoint": endpoint,
                "compression": compression.value,
                "max_connections": connections,
                "timeout": timeout,
                "retry": {"initial": 0.2, "maximum": 5.0, "max_elapsed": give_up},
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{where or 'replay'}: {first['msg']}") from None
