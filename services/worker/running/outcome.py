"""How an attempt ended, as the recorder will write it. Decisions only; nothing here does I/O."""

import hashlib
import traceback
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

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
    #: Equal for errors of one type raised at one place.
    fingerprint: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What follows for the task's row. With `wait_s` the task goes back to Postgres, without it is final."""

    status: Status
    wait_s: float | None = None
    result: Stored | None = None
    failure: Failure | None = None
    failures: int = 0
    interruptions: int = 0
    wait_reason: str | None = None

    @property
    def label(self) -> str:
        """For metrics: success, failure, retry, revoked or given_back."""
        return (
            "given_back" if self.wait_s is not None and self.status is not Status.RETRY else str(self.status)
        )


def clean(text: str, limit: int) -> str:
    """Text that Postgres can store: no NUL, no lone surrogate, at most `limit` characters."""
    text = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def succeeded(
    contract: Contract[Any, Any], returned: Any, vault: Vault, task: UUID, owner: int | None, *, failures: int
) -> Outcome:
    """Success, or failure where the result can't be stored."""
    try:
        result = vault.seal_result(contract, returned, task, owner)
        return Outcome(Status.SUCCESS, result=result, failures=failures)
    except (InvalidFields, VaultError) as error:
        failure = Failure(
            ErrorKind.UNSTORABLE, clean(f"the result can't be stored: {error}", MAX_MESSAGE_CHARS)
        )
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
    """Retry or failure after the body raised `error` at `now`; `failures` counts those before.

    Message and traceback say none of `secrets`.
    """
    failures += 1
    failure = describe(error, lifecycle.classify(error, contract), secrets)
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
    """A failure that no body raised."""
    return Outcome(
        Status.FAILURE, failure=Failure(kind, clean(message, MAX_MESSAGE_CHARS)), failures=failures
    )


def describe(error: BaseException, kind: ErrorKind, secrets: Sequence[str] = ()) -> Failure:
    """Message, traceback and fingerprint of an error, whatever its own methods do."""
    frames = traceback.extract_tb(error.__traceback__)
    places = "|".join(f"{frame.filename.rpartition('/')[2]}:{frame.name}" for frame in frames[-5:])
    name = type(error).__name__
    text = _text_of(error)
    return Failure(
        kind,
        clean(redact(f"{name}: {text}" if text else name, secrets), MAX_MESSAGE_CHARS),
        clean(redact(_traceback_of(error), secrets), MAX_TRACEBACK_CHARS),
        hashlib.sha256(f"{name}|{places}".encode("utf-8", "replace")).hexdigest()[:16],
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
