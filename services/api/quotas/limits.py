"""Defines the quotas of each role, which come from the settings of the platform and of its
applications.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.applications import Application, resolve
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import HIGHEST_PRIORITY
from shared.errors import SettingsError
from shared.identity.tables import Role
from shared.quota_amounts import amounts
from shared.settings import Settings

#: Names of the platform's own quotas, which daily quotas of applications must not use.
PRIORITY, TASKS, WAITING = "priority", "tasks", "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The quotas of one role. A value that is None or missing means that there is no limit."""

    #: The highest priority that accounts with this role may request for a task.
    priority: int = HIGHEST_PRIORITY
    #: Maximum number of tasks that an account with this role may submit per minute.
    tasks: int | None = None
    #: Maximum number of waiting tasks that an account with this role may have.
    waiting: int | None = None
    #: Maximum number of tasks per day that an account may submit, by the name of the daily quota
    #: that counts them.
    daily: Mapping[str, int] = field(default_factory=dict)


def by_role(settings: Settings, applications: Iterable[Application]) -> dict[Role, Limits]:
    """Return the quotas of every role, from the settings."""
    priority, tasks, waiting = (
        amounts(text) for text in (settings.quota_priority, settings.quota_tasks, settings.quota_waiting)
    )
    daily = {name: amounts(text) for name, text in _daily(settings, applications).items()}
    return {
        role: Limits(
            priority=priority.get(role, HIGHEST_PRIORITY),
            tasks=tasks.get(role),
            waiting=waiting.get(role),
            daily={name: by_role[role] for name, by_role in daily.items() if role in by_role},
        )
        for role in Role
    }


def names(settings: Settings, applications: Iterable[Application]) -> list[str]:
    """Return the names of all quotas that can refuse a submission for some time."""
    return [TASKS, WAITING, *_daily(settings, applications)]


def check(settings: Settings, applications: Iterable[Application], contracts: Catalogue) -> None:
    """Raise SettingsError when a contract uses a daily quota that no application declares."""
    declared = _daily(settings, applications)
    for contract in contracts.by_name.values():
        if contract.quota is not None and contract.quota not in declared:
            raise SettingsError(
                f"the contract {contract.name} uses the quota {contract.quota!r}, which no application "
                f"declares: add it to the function that `Application.quotas` names, or correct it to one of "
                f"{', '.join(declared) or '(none)'}"
            )


def _daily(settings: Settings, applications: Iterable[Application]) -> dict[str, str]:
    """Return the amounts of all daily quotas, as the settings define them, by name. Raises
    SettingsError.
    """
    found: dict[str, str] = {}
    for each in applications:
        declared = resolve(each.quotas)(settings) if each.quotas else {}
        if taken := declared.keys() & {PRIORITY, TASKS, WAITING, *found}:
            raise SettingsError(
                f"the application {each.name} declares the quota {min(taken)!r}, whose name is taken: "
                "choose another name"
            )
        found |= declared
    return found
