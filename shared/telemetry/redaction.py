"""Removes sensitive values from the log lines, messages and tracebacks of a process.

Sensitive fields of tasks are encrypted in the database. This module covers other text in which
their values may appear, for example an exception that quotes its argument.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

REDACTED = "[hidden]"

#: Values that must not appear in log lines of the current context; the log formatter `Redacting`
#: removes them.
_current: ContextVar[Sequence[str]] = ContextVar("secrets", default=())


def redact(text: str, secrets: Sequence[str]) -> str:
    """Replace every secret in the text by `[hidden]`, whether the secret is written plainly or as a
    Python or JSON literal.

    `secrets` must be ordered by length, the longest first, because a shorter one may be a part of a
    longer one.
    """
    for secret in secrets:
        for written in {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}:
            text = text.replace(written, REDACTED)
    return text


def redacting(secrets: Sequence[str]) -> AbstractContextManager[None]:
    """Hide `secrets` in every line that is logged inside this context."""
    return _redacting(secrets) if secrets else nullcontext()


@contextmanager
def _redacting(secrets: Sequence[str]) -> Iterator[None]:
    token = _current.set((*_current.get(), *secrets))
    try:
        yield
    finally:
        _current.reset(token)


class Redacting(logging.Formatter):
    """A log formatter that wraps another one and hides secrets in its output."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record), _current.get())
