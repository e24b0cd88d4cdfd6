"""Structured logs: ours and the libraries', one format, and a limit on what is repeated.

While a broker is away aiokafka writes 50 to 70 lines a second. Lines of libraries are therefore
limited per logger and level, ours per logger, level and text before its figures are filled in;
the next line that passes tells how many did not, as ``suppressed``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

import structlog

from schemas.config import Telemetry

__all__ = ["RateLimit", "configure_logs", "set_log_level"]

OURS = ("schemas", "streams", "topologies", "otlp_streams", "__main__")
LIBRARIES = ("aiokafka", "asyncio", "faust", "grpc", "mode")
LINES_MAX = 5
OUR_LINES_MAX = 20
PERIOD_S = 10.0


class RateLimit(logging.Filter):
    """Lets so many lines of one kind pass in ``period_s`` seconds.

    ``lines_max`` of each library's logger and level, ``our_lines_max`` of each text of ours.
    """

    def __init__(
        self,
        lines_max: int = LINES_MAX,
        our_lines_max: int = OUR_LINES_MAX,
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.lines_max = lines_max
        self.our_lines_max = our_lines_max
        self.period_s = period_s
        self._clock = clock
        self._periods: dict[tuple[str, int, str], list[float]] = {}  # start, passed, suppressed

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line may pass; the first one of a period carries the count of the last."""
        text, most = "", self.lines_max
        if record.name.partition(".")[0] in OURS:
            event = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
            text, most = str(event), self.our_lines_max
        now = self._clock()
        period = self._periods.setdefault((record.name, record.levelno, text), [now, 0, 0])
        if now - period[0] >= self.period_s:
            if period[2]:
                record.suppressed = int(period[2])
            period[:] = [now, 0, 0]
        if period[1] >= most:
            period[2] += 1
            return False
        period[1] += 1
        return True


def configure_logs(
    telemetry: Telemetry,
    fields: Mapping[str, str] | None = None,
    stream: IO[str] | None = None,
) -> None:
    """Send every log line of this process to ``stream`` (standard error by default).

    ``fields``, such as ``stage``, are added to each line.
    """
    stream = sys.stderr if stream is None else stream
    as_json = telemetry.log_format == "json" or (
        telemetry.log_format == "auto" and not stream.isatty()
    )
    colours = stream.isatty() or "FORCE_COLOR" in os.environ
    constant = dict(fields or {})

    def add_fields(
        _: Any, __: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {**event, **constant}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=["suppressed"]),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_fields,
    ]
    if as_json:
        last: list[structlog.typing.Processor] = [
            structlog.processors.ExceptionRenderer(
                # Locals of a frame hold telemetry and credentials.
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                colors=colours,
                exception_formatter=structlog.dev.RichTracebackFormatter(
                    color_system="truecolor" if colours else None, show_locals=False
                ),
            )
        ]
    handler = logging.StreamHandler(stream)
    handler.addFilter(RateLimit())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_log_level(telemetry.log_level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def set_log_level(level: str) -> None:
    """Write lines of this level (``debug``, ``info``, ``warning``, ``error``) and above."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    # What libraries call information is for those who debug them.
    least = logging.NOTSET if level == "debug" else logging.WARNING
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(least, root.level) if least else least)
