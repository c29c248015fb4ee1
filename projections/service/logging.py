"""Log lines of the service, on stderr: stdout is for what a command was asked for."""

from __future__ import annotations

import sys
from typing import Any

import structlog


def logger() -> Any:
    """A structlog logger that writes one line per event to stderr."""
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%SZ", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False),
        ],
    )
