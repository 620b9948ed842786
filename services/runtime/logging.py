"""Structured logs: one line for each event, on standard error. `redaction` blanks tokens in them."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from services.runtime.redaction import blank_log_event
from services.runtime.repeats import Repeats


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send structlog's and the standard library's loggers to standard error in one format; called once in a process.

    Args:
        service: the name on every line.
        level: the lowest level shown, by name, in any case. Libraries that log every request start at WARNING.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        blank_log_event,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.LogfmtRenderer(
                    key_order=["timestamp", "level", "logger", "event"], bool_as_flag=False
                ),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.contextvars.bind_contextvars(service=service)
    for noisy in ("httpx", "httpcore", "httpx2", "httpcore2", "uvicorn.access", "aiokafka", "faust", "mode"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger(name: str) -> Any:
    """A structured logger: `log.info("assigned", partitions=[1, 2])` is one line."""
    return structlog.stdlib.get_logger(name)
