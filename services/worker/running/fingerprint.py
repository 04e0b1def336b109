"""Computes the fingerprint of an error. Failures with the same fingerprint form one error group.

Line numbers are not part of it. They change with each release, and each release would then begin
new groups. A fingerprint reveals no secrets.
"""

import functools
import hashlib
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

import msgspec

from shared.telemetry.redaction import redact

#: Version of the rules by which fingerprints are computed. Fingerprints of different versions are
#: never equal.
VERSION = "v2"
#: Number of stack frames that are used. They are the innermost ones in the application's code.
PLACES = 3
#: Maximum number of chained causes that are followed, because a chain may be circular.
MAX_CHAIN = 20
#: Maximum number of characters that are used of an error message, or of a fingerprint that the task
#: body has set.
MAX_TEXT = 500

#: Modules whose frames are not used. They are between the worker's thread and the task body, or are
#: called by any task body, so they say nothing about the cause.
_PLATFORM = (
    "dramatiq",
    "services.worker.registry",
    "services.worker.running",
    "services.worker.recording",
    "shared.ledger",
    "shared.transport",
    "shared.vault",
)
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")
_STANDARD = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_WORD = re.compile(r"[\w-]+")


class Cause(msgspec.Struct, frozen=True):
    """The cause that the errors of one group have in common."""

    fingerprint: str
    #: Qualified class name of the root exception, which is the first one in the chain of causes.
    type: str | None = None
    #: Module and function of the innermost stack frame in the application's code.
    place: str | None = None


def of_error(task: str, kind: str, error: BaseException, message: str, secrets: Sequence[str]) -> Cause:
    """Determine the cause of an error that the body of `task` raised.

    `message` is the error's text without secrets. If the task body has set the error's attribute
    `fingerprint` to a text, that text is used instead of everything except the task's name.
    """
    try:
        root = _root(error)
        places = _places(error, root)
        own = getattr(error, "fingerprint", None)
        if isinstance(own, str) and own.strip():
            parts = ["own", redact(own, secrets)[:MAX_TEXT]]
        else:
            parts = [kind, _name(root), _name(error), *(places or [_pattern(message)])]
        return Cause(_digest(task, *parts), _name(root), places[-1] if places else None)
    except Exception:  # noqa: BLE001 - it reads attributes, which may be code of the application
        return of_message(task, kind, message)


def of_message(task: str, kind: str, message: str) -> Cause:
    """Determine the cause of a failure that no task body raised, such as an expired task."""
    return Cause(_digest(task, kind, _pattern(message)))


def _root(error: BaseException) -> BaseException:
    """Return the root exception: the one that happened first and that tracebacks show first.

    In a group of exceptions, the first one is followed.
    """
    for _ in range(MAX_CHAIN):
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
        if inner is None and not error.__suppress_context__:
            inner = error.__context__
        if inner is None:
            return error
        error = inner
    return error


def _places(error: BaseException, root: BaseException) -> list[str]:
    """Return the functions of the application's code from which the error was raised.

    First come the frames from the task body inwards, then those of the root exception from the
    place where it was caught.
    """
    found: list[str] = []
    body = None
    for raised in (error, root) if root is not error else (error,):
        for module, code in _frames(raised):
            package = module.partition(".")[0]
            # The first frame belongs to the task body. Its application may be installed like a
            # library, so its package must not count as a library.
            body = body or package
            place = f"{module}:{code.co_qualname}"
            is_library = _INSTALLED.search(code.co_filename) and package != body
            if not is_library and found[-1:] != [place]:
                found.append(place)
    return found[-PLACES:]


def _frames(error: BaseException) -> Iterator[tuple[str, CodeType]]:
    """Yield the module and function of each stack frame, except those of the platform and of the
    standard library.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module: Any = frame.f_globals.get("__name__")
        code = frame.f_code
        if isinstance(module, str) and not _is_beside(module, code.co_filename):
            yield module, code


@functools.lru_cache(maxsize=4_096)
def _is_beside(module: str, file: str) -> bool:
    """Return True if the module belongs to the platform or the standard library.

    Frames in such modules say nothing about the cause.
    """
    is_platform = any(module == name or module.startswith(f"{name}.") for name in _PLATFORM)
    return is_platform or file.startswith(_STANDARD)


def _name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _pattern(message: str) -> str:
    """Remove the parts of a message that differ from task to task.

    These are quoted texts, and words that contain a digit.
    """
    unquoted = _QUOTED.sub("'…'", message[:MAX_TEXT])
    return _WORD.sub(lambda word: "#" if any(map(str.isdigit, word[0])) else word[0], unquoted)


def _digest(*parts: str) -> str:
    text = "\x1f".join(parts)
    return f"{VERSION}:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}"
