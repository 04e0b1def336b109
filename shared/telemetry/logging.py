"""Configures the log of every process: one line per event, either JSON for machines or text for
people.
"""

import logging
import sys

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from shared.telemetry import tracing
from shared.telemetry.fields import WithFields
from shared.telemetry.redaction import Redacting

#: Libraries whose log lines of level INFO are hidden, because they describe internal details.
QUIET = ("dramatiq", "apscheduler", "httpx", "httpcore", "asyncio")


def configure(service: str, log_format: str) -> None:
    """Make the root logger write to standard error; `log_format` is `json` or `text`."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.addFilter(_with_trace)
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                static_fields={"service": service},
                # uvicorn adds `color_message`, a copy of its message with colors for terminals. It
                # is reserved so that it does not appear as a field of the JSON.
                reserved_attrs=[*RESERVED_ATTRS, "color_message"],
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(WithFields(f"%(asctime)s {service} %(levelname)s %(name)s: %(message)s"))
    assert handler.formatter is not None
    handler.setFormatter(Redacting(handler.formatter))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Dramatiq logs every failed attempt as an error with its traceback. Those lines are hidden,
    # because the platform's lifecycle middleware already logs the real errors.
    logging.getLogger("dramatiq.worker.WorkerThread").setLevel(logging.CRITICAL)


def _with_trace(record: logging.LogRecord) -> bool:
    """If a trace is active, add the ids of the trace and the task to the log record."""
    record.__dict__.update(tracing.labels() or {})
    return True
