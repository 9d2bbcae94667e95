"""Logs: one line per event on stderr, for people on a terminal, JSON elsewhere. Never a token, never a payload."""

import logging
import sys
import time

import structlog

from runtime_grpc.metrics import count_call

_log = structlog.get_logger()


def configure_logs(level: str) -> None:
    """Set logs up for this process. `level`: debug, info, warning or error."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    # Plain tracebacks: richer ones print local variables, and with them tokens and payloads.
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if sys.stderr.isatty() else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def log_call(method: str, started: float, refusal: str | None) -> None:
    """Say, and count, that a call has ended: one that began at `started` (monotonic).

    `refusal` is the text of its refusal where it was one.
    """
    seconds = time.monotonic() - started
    count_call(method, seconds, is_refused=refusal is not None)
    milliseconds = round(seconds * 1000, 1)
    if refusal is None:
        _log.debug("call", method=method, milliseconds=milliseconds)
    else:
        _log.info("call refused", method=method, milliseconds=milliseconds, error=refusal)
