"""``top``: what the processes do, live."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import ConfigFile

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(top)


def top(
    config: ConfigFile = None,
    url: Annotated[
        str | None,
        typer.Option(help="Admin port of a supervisor or stage; default: telemetry.endpoint."),
    ] = None,
    interval: Annotated[
        str, typer.Option(metavar="DURATION", help="Time between two looks.")
    ] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Print once, after one interval.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON array of processes per look.")
    ] = False,
) -> None:
    """Show rates, lag, memory and health of each process, until Ctrl-C."""
    import asyncio
    import contextlib

    from schemas.config.units import parse_duration
    from schemas.errors import ConfigurationError

    try:
        interval_s = parse_duration(interval)
    except ValueError as error:
        raise ConfigurationError(f"--interval: {error}") from None
    if interval_s < 0.05:
        raise ConfigurationError("--interval: at least 50ms")
    if url is None:
        from topologies.boot import read_config

        url = read_config(config)[0].telemetry.endpoint
        host, _, port = url.rpartition(":")
        url = f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104
    if "://" not in url:
        url = f"http://{url}"
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_show(url.rstrip("/"), interval_s, once=once, as_json=as_json))


async def _show(url: str, interval_s: float, *, once: bool, as_json: bool) -> None:
    import asyncio
    import json

    import aiohttp
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from schemas.errors import BackendUnavailable
    from topologies.top import Row, policy_table, rows, scrape, table

    console = Console()

    def shown(found: list[Row]) -> Group:
        sampling = policy_table(found)
        return Group(table(found, console.width), *(() if sampling is None else ("", sampling)))

    if not console.is_terminal:
        console.width = max(console.width, 200)
    async with aiohttp.ClientSession() as session:
        before = await scrape(session, url)
        if once or as_json:
            while True:
                await asyncio.sleep(interval_s)
                now = await scrape(session, url)
                found = rows(before, now)
                before = now
                if as_json:
                    typer.echo(json.dumps([row.as_dict() for row in found]))
                else:
                    console.print(shown(found))
                if once:
                    return
        with Live(shown(rows(None, before)), console=console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(interval_s)
                try:
                    now = await scrape(session, url)
                except BackendUnavailable as error:  # it may be restarting: say so and go on
                    live.update(Text(str(error), style="red"), refresh=True)
                    continue
                live.update(shown(rows(before, now)), refresh=True)
                before = now
