"""``otlp-streams``: the commands, and what each kind of failure means to the shell.

The exit codes are those of ``topologies/exits.py``.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from topologies.exits import (
    EXIT_CONFIGURATION,
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_TRY_AGAIN,
)

__all__ = ["app", "main"]


_MODULES = (
    "run", "config", "kafka", "topics", "backend", "replay", "tap", "top", "control",
    "sampling", "alerts", "explain", "deadletter", "records", "demo",
)  # fmt: skip

app = typer.Typer(
    name="otlp-streams",
    help="Stream-processing jobs that carry OpenTelemetry through Apache Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def version() -> None:
    """Print the version."""
    from streams.edges.platform.metrics import package_version

    typer.echo(f"otlp-streams {package_version()}")


for _module in _MODULES:
    import_module(f"topologies.cli.{_module}").register(app)


def main() -> None:
    """Run the command line; expected failures end with one message and their exit code."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        from schemas.errors import ConfigurationError, OtlpStreamsError, RetryableError

        if not isinstance(error, OtlpStreamsError):
            raise
        code = EXIT_DEFECT
        if isinstance(error, ConfigurationError):
            code = EXIT_CONFIGURATION
        elif isinstance(error, RetryableError):
            code = EXIT_TRY_AGAIN
        sys.stderr.write(f"otlp-streams: {error}\n")
        sys.exit(code)


if __name__ == "__main__":
    main()
