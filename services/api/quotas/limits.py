"""What each role may take, read from the settings of the platform and of its applications."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.applications import Application, resolve
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import HIGHEST_PRIORITY
from shared.errors import SettingsError
from shared.identity.tables import Role
from shared.quota_amounts import amounts
from shared.settings import Settings

#: Names of the platform's own quotas; a daily quota has another name.
PRIORITY, TASKS, WAITING = "priority", "tasks", "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The quotas of one role; None and a missing name mean that there is no limit."""

    #: Highest priority that it may ask for.
    priority: int = HIGHEST_PRIORITY
    #: Tasks submitted in a minute.
    tasks: int | None = None
    #: Tasks that wait at the same time.
    waiting: int | None = None
    #: Tasks of certain kinds submitted in a day.
    daily: Mapping[str, int] = field(default_factory=dict)


def by_role(settings: Settings, applications: Iterable[Application]) -> dict[Role, Limits]:
    """The quotas of every role."""
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
    """The names of all quotas that can refuse a submission for a time."""
    return [TASKS, WAITING, *_daily(settings, applications)]


def check(settings: Settings, applications: Iterable[Application], contracts: Catalogue) -> None:
    """Raises SettingsError when a contract takes of a daily quota that no application declares."""
    declared = _daily(settings, applications)
    for contract in contracts.by_name.values():
        if contract.quota is not None and contract.quota not in declared:
            raise SettingsError(
                f"the contract {contract.name} takes of the quota {contract.quota!r}, which no application "
                f"declares: add it to the function that `Application.quotas` names, or correct it to one of "
                f"{', '.join(declared) or '(none)'}"
            )


def _daily(settings: Settings, applications: Iterable[Application]) -> dict[str, str]:
    """The amounts of all daily quotas as their settings write them. Raises SettingsError."""
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
