"""All stages from sources to alerts in one process: ``python -m tests.broker.windows_worker FILE``.

As ``run`` starts each, but together: a third of the starts in a test that has little time.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from streams.edges.platform import configure_logs, create_registry
from topologies import detect, shape, windows
from topologies.boot import read_config
from topologies.runtime import serve


def main() -> None:
    """Until SIGTERM."""
    config, _ = read_config(Path(sys.argv[1]))
    configure_logs(config.telemetry)
    registry = create_registry()
    stages = [module.stage(config, registry) for module in (shape, windows, detect)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(stages, config, registry=registry))


if __name__ == "__main__":
    main()
