"""Keeps sensitive values out of what a process says while it handles them: log lines, messages, tracebacks.

Sensitive fields are encrypted where they are stored; this is for text that somebody else writes, an exception
that quotes its argument for example.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

REDACTED = "[hidden]"

#: What must not be said in this context; log lines written in it are redacted by `Redacting`.
_current: ContextVar[Sequence[str]] = ContextVar("secrets", default=())


def redact(text: str, secrets: Sequence[str]) -> str:
    """Replace every secret, written plainly or as a literal of Python or JSON; longer ones come first."""
    for secret in secrets:
        for written in {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}:
            text = text.replace(written, REDACTED)
    return text


def redacting(secrets: Sequence[str]) -> AbstractContextManager[None]:
    """Whatever is logged in this context says none of `secrets`."""
    return _redacting(secrets) if secrets else nullcontext()


@contextmanager
def _redacting(secrets: Sequence[str]) -> Iterator[None]:
    token = _current.set((*_current.get(), *secrets))
    try:
        yield
    finally:
        _current.reset(token)


class Redacting(logging.Formatter):
    """Wraps a formatter."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record), _current.get())
