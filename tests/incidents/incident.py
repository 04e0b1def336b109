"""Defines what an incident is: what goes wrong, which alert must fire, and within which time."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from tests.incidents.system import System

#: The type of a function that returns a context manager. The context causes the incident when it is
#: entered, and ends it when it is left.
Cause = Callable[[System], AbstractAsyncContextManager[None]]
#: The type of a function that checks the system during the incident. It returns a remark for the
#: report, or raises AssertionError.
Check = Callable[[System], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Incident:
    """An incident, and the alert that an operator must receive."""

    name: str
    title: str
    cause: Cause
    #: Name of the alert that must fire. None if no alert may fire.
    alert: str | None
    #: Labels that the alert must have.
    labels: dict[str, str]
    #: Seconds within which the notification must arrive. If no alert may fire, how long the system
    #: is watched.
    within_s: float
    #: Seconds after the end of the incident within which the alert must be resolved.
    resolved_s: float
    #: True if the database must be on a small disk of its own.
    small_disk: bool
    check: Check | None


def incident(
    title: str,
    *,
    alert: str | None = None,
    within_s: float,
    resolved_s: float = 120,
    small_disk: bool = False,
    check: Check | None = None,
    **labels: str,
) -> Callable[[Cause], Incident]:
    """Decorator that turns a context manager function into an incident. The incident has the name
    of the function.
    """

    def make(cause: Cause) -> Incident:
        return Incident(
            name=cause.__name__,
            title=title,
            cause=cause,
            alert=alert,
            labels=labels,
            within_s=within_s,
            resolved_s=resolved_s,
            small_disk=small_disk,
            check=check,
        )

    return make
