"""Decides the outcome of an attempt, as the values that the recorder will write. Does no I/O."""

import traceback
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.worker.running import fingerprint
from services.worker.running.fingerprint import Cause
from shared.contracts.contract import Contract
from shared.errors import InvalidFields, NotBefore, Retry, VaultError
from shared.ledger import lifecycle
from shared.ledger.lifecycle import ErrorKind, Status
from shared.telemetry.redaction import redact
from shared.vault import Stored, Vault

MAX_MESSAGE_CHARS = 2_000
MAX_TRACEBACK_CHARS = 20_000


class Failure(msgspec.Struct, frozen=True):
    """The error of one attempt."""

    kind: ErrorKind
    message: str
    traceback: str | None = None
    #: Cause of the error. Errors with the same cause are counted in one error group. None if the
    #: failure belongs to no error group.
    cause: Cause | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The change of a task's row after an attempt.

    If `wait_s` is set, the task runs again after this number of seconds; otherwise, it has ended.
    """

    status: Status
    wait_s: float | None = None
    result: Stored | None = None
    failure: Failure | None = None
    failures: int = 0
    interruptions: int = 0
    wait_reason: str | None = None

    @property
    def label(self) -> str:
        """Name of the outcome in metrics: success, failure, retry, revoked or given_back."""
        return (
            "given_back" if self.wait_s is not None and self.status is not Status.RETRY else str(self.status)
        )


def clean(text: str, limit: int) -> str:
    """Make a text storable: without NUL and lone surrogates, and with at most `limit` characters."""
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def succeeded(
    contract: Contract[Any, Any], returned: Any, vault: Vault, task: UUID, owner: int | None, *, failures: int
) -> Outcome:
    """The outcome after the body returned: success, or failure if its result can't be stored."""
    try:
        result = vault.seal_result(contract, returned, task, owner)
        return Outcome(Status.SUCCESS, result=result, failures=failures)
    except (InvalidFields, VaultError) as error:
        message = clean(f"the result can't be stored: {error}", MAX_MESSAGE_CHARS)
        cause = fingerprint.of_message(contract.name, ErrorKind.UNSTORABLE, message)
        failure = Failure(ErrorKind.UNSTORABLE, message, cause=cause)
        return Outcome(Status.FAILURE, failure=failure, failures=failures + 1)


def failed(
    contract: Contract[Any, Any],
    error: BaseException,
    *,
    failures: int,
    max_attempts: int,
    spread: float,
    now: datetime,
    secrets: Sequence[str] = (),
) -> Outcome:
    """The outcome of an attempt whose body raised `error` at the time `now`: retry or failure.

    `failures` is the number of earlier failed attempts. Occurrences of `secrets` are removed from
    the message and the traceback.
    """
    failures += 1
    failure = describe(contract.name, error, lifecycle.classify(error, contract), secrets)
    plan = lifecycle.plan_retry(
        contract.retries,
        failures=failures,
        max_attempts=max_attempts,
        kind=failure.kind,
        spread=spread,
        asked_s=error.wait_s(now) if isinstance(error, Retry) else None,
        or_later=isinstance(error, NotBefore),
    )
    if isinstance(plan, lifecycle.Retry):
        wait_s = plan.delay.total_seconds()
        return Outcome(Status.RETRY, wait_s=wait_s, failure=failure, failures=failures)
    return Outcome(Status.FAILURE, failure=failure, failures=failures)


def broken(message: str, kind: ErrorKind, *, failures: int) -> Outcome:
    """The outcome of a task that failed without an error of its body, such as an expired task."""
    return Outcome(
        Status.FAILURE, failure=Failure(kind, clean(message, MAX_MESSAGE_CHARS)), failures=failures
    )


def describe(task: str, error: BaseException, kind: ErrorKind, secrets: Sequence[str] = ()) -> Failure:
    """Describe an error by its kind, message, traceback and cause.

    This works even if the error's own methods, such as `__str__`, raise.
    """
    name = type(error).__name__
    text = _text_of(error)
    message = clean(redact(f"{name}: {text}" if text else name, secrets), MAX_MESSAGE_CHARS)
    return Failure(
        kind,
        message,
        clean(redact(_traceback_of(error), secrets), MAX_TRACEBACK_CHARS),
        fingerprint.of_error(task, kind, error, message, secrets),
    )


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as trouble:  # noqa: BLE001 - __str__ is code of the application
        return f"(no text: its __str__ raised {type(trouble).__name__})"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - it reads properties, which may raise
        return "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
