"""``backend``: an OTLP receiver that counts, can store, and can misbehave by seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["register"]

_RATE = "share of requests, 0 to 1"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(backend)


def backend(  # noqa: PLR0917 - typer calls it by name
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[
        int, typer.Option("--grpc-port", min=0, max=65535, help="OTLP/gRPC; 0 for a free one.")
    ] = 5317,
    http_port: Annotated[
        int, typer.Option("--http-port", min=0, max=65535, help="OTLP/HTTP; 0 for a free one.")
    ] = 5318,
    store: Annotated[
        Optional[Path],  # noqa: UP045 - typer evaluates it
        typer.Option(
            metavar="FILE",
            help="Keep it: FILE.traces.otlp.zst and so on, or lines if FILE ends in .jsonl.",
            show_default=False,
        ),
    ] = None,
    latency: Annotated[
        str, typer.Option(metavar="DURATION", help="Every answer comes this much later.")
    ] = "0s",
    refuse: Annotated[
        str, typer.Option(metavar="RATE[:CODE]", help=f"Refuse for good, {_RATE}; CODE is 400.")
    ] = "0",
    fail: Annotated[
        float, typer.Option(metavar="RATE", help=f"Fail with retryable codes, {_RATE}.")
    ] = 0.0,
    reset: Annotated[
        float, typer.Option(metavar="RATE", help=f"Cut off without an answer, {_RATE}.")
    ] = 0.0,
    hang: Annotated[float, typer.Option(metavar="RATE", help=f"Never answer, {_RATE}.")] = 0.0,
    partial: Annotated[
        float, typer.Option(metavar="RATE", help=f"Take every second item, {_RATE}.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of what goes wrong.")] = 0,
    max_request: Annotated[
        str, typer.Option(metavar="SIZE", help="Largest request after decompression.")
    ] = "64MiB",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line a second.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Totals as JSON on standard output.")
    ] = False,
) -> None:
    """Receive OTLP over gRPC and HTTP until Ctrl-C or SIGTERM, then print the totals."""
    import uvloop

    from schemas.config import GrpcReceiver, HttpReceiver
    from schemas.config.units import parse_duration, parse_size
    from schemas.errors import ConfigurationError
    from streams.edges.receivers import FaultSettings
    from topologies.backend import BackendSettings, run

    rate, _, code = refuse.partition(":")
    address = f"[{host}]" if ":" in host else host
    try:
        settings = BackendSettings(
            grpc=GrpcReceiver(endpoint=f"{address}:{grpc_port}", max_concurrent_requests=10_000),
            http=HttpReceiver(endpoint=f"{address}:{http_port}"),
            faults=FaultSettings(
                latency_s=parse_duration(latency),
                refuse=float(rate),
                refuse_code=code or "400",
                fail=fail,
                reset=reset,
                hang=hang,
                partial=partial,
                seed=seed,
            ),
            max_request_bytes=parse_size(max_request),
            store=store,
            quiet=quiet,
            as_json=as_json,
        )
    except ValueError as error:
        raise ConfigurationError(f"backend: {error}") from None
    uvloop.run(run(settings))
