"""What a stage compiles or loads before its first message, and not under it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from schemas.config import Config

__all__ = ["warmed"]


@asynccontextmanager
async def warmed(warm_up: Callable[[Config], None], config: Config) -> AsyncIterator[None]:
    """For ``Stage.lifespan``: it begins when ``warm_up`` is done."""
    await asyncio.to_thread(warm_up, config)
    yield
