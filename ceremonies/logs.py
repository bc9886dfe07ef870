"""How the keyroom's processes write their log."""

import sys

import structlog


def configure_log() -> None:
    """JSON lines on standard error. Tracebacks show code, never the values of variables."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
