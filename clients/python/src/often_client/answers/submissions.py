"""Answers to submissions, and the kinds of tasks that this account may submit."""

from typing import Any
from uuid import UUID

from msgspec import Struct


class Submitted(Struct):
    task_id: UUID
    status: str
    message: str


class BatchSubmitted(Struct):
    task_ids: list[UUID]
    status: str
    message: str


class Retries(Struct):
    max_attempts: int
    delay_s: float
    factor: float
    cap_s: float
    jitter: float


class Contract(Struct, kw_only=True):
    """A kind of task that this account may submit, with its schema and limits."""

    name: str
    queue: str
    version: int
    priority: int
    staff_only: bool
    needs_key: bool
    quota: str | None
    recipient: str | None
    retries: Retries
    time_limit_s: float
    max_wait_s: float | None
    #: JSON Schema of the task's parameters.
    params: dict[str, Any]
    result: dict[str, Any]


class Catalogue(Struct):
    tasks: list[Contract]
