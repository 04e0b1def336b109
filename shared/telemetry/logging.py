"""How every process logs: one line each, JSON for machines or text for people."""

import logging
import sys

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from shared.telemetry.redaction import Redacting

#: Libraries whose information is the platform's own business.
QUIET = ("dramatiq", "apscheduler", "httpx", "httpcore", "asyncio")


def configure(service: str, log_format: str) -> None:
    """Send the root logger to standard error; `log_format` is json or text."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                static_fields={"service": service},
                # uvicorn's copy of its message for terminals.
                reserved_attrs=[*RESERVED_ATTRS, "color_message"],
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {service} %(levelname)s %(name)s: %(message)s"))
    assert handler.formatter is not None
    handler.setFormatter(Redacting(handler.formatter))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Repeats every failed attempt as an error with its traceback; the lifecycle middleware says which one is.
    logging.getLogger("dramatiq.worker.WorkerThread").setLevel(logging.CRITICAL)
