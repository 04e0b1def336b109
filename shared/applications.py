"""Finds the applications that run on this platform.

An application is an importable package named in `OFTEN_APPLICATIONS`. Its module `application`
defines one `Application`, which names its parts by import strings. Each service imports only the
parts that it needs: the API never imports task bodies, and the worker never imports routes.
"""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import SettingsError
from shared.roles import Grants

#: Environment variable that names the packages of the applications, separated by commas.
VARIABLE = "OFTEN_APPLICATIONS"
DEFAULT = "shared.hotel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Declares where the parts of an application are, each by an import string.

    An empty string means that the application has no such part. `shop.contracts` is the form for a
    package, and `shop.routes:ROUTES` the form for a value in a module.
    """

    name: str
    #: Package whose modules define the application's contracts (its kinds of tasks).
    contracts: str = ""
    #: Package whose modules declare the application's workflow schedules, as
    #: `shared.workflows.scheduled.WorkflowSchedule`s.
    workflows: str = ""
    #: Package whose modules contain the task bodies: functions that `@task` connects to contracts.
    bodies: str = ""
    #: Function `(Settings) -> dict[type, Any]` that creates the clients of outside services, by
    #: their class. Task bodies get them from `context.gateway`.
    gateways: str = ""
    #: Hooks that run around the application's tasks: a `shared.contracts.hooks.Hooks`.
    hooks: str = ""
    #: HTTP routes that the application adds to the API: a `services.api.applications.Routes`.
    routes: str = ""
    #: Tuple of the application's Piccolo tables.
    tables: str = ""
    #: Rights of each service on the application's tables: a `shared.roles.Grants`.
    grants: str = ""
    #: Module with the Piccolo `APP_CONFIG` of the application. Its migrations run after the
    #: platform's.
    migrations: str = ""
    #: Function `(Settings) -> Mapping[str, str]` that returns the daily quotas of the application
    #: by name. `shared.quota_amounts` parses their amounts.
    quotas: str = ""
    #: Frozen dataclass of the application's settings, which are read from the environment together
    #: with the platform's.
    settings: str = ""
    #: Contract of the task that mails people about their accounts. Its parameters must be those in
    #: `shared.contracts.account_mail`. If an application declares no such contract, addresses count
    #: as verified without a mail.
    account_mail: str = ""
    #: Declares what the application stores about accounts: a `shared.personal.data.PersonalData`.
    personal_data: str = ""


#: The platform itself, declared in the same way as an application: its own contracts, task bodies
#: and tables.
PLATFORM = Application(
    name="platform",
    contracts="shared.contracts",
    bodies="services.worker.maintenance",
    gateways="services.worker.maintenance.gateways:build",
    tables="shared.identity.tables:TABLES",
    grants="shared.identity.grants:GRANTS",
    migrations="shared.identity.piccolo_app",
    personal_data="shared.personal.platform:PERSONAL_DATA",
)

#: The bulk operations of the platform, which run as tasks, declared in the same way as an
#: application.
OPERATIONS = Application(
    name="operations",
    bodies="services.worker.operations",
    gateways="services.worker.operations.announcements:gateways",
)


def find(names: str) -> list[Application]:
    """Return the platform's own parts, and the applications in these comma-separated packages.

    Raises SettingsError for a package that is not a usable application.
    """
    packages = [name.strip() for name in names.split(",") if name.strip()]
    return [PLATFORM, OPERATIONS, *(_find(package) for package in packages)]


def _find(package: str) -> Application:
    if not all(part.isidentifier() for part in package.split(".")):
        raise SettingsError(f"{VARIABLE} must name importable packages like shop.tasks, not {package[:40]!r}")
    module = f"{package}.application"
    try:
        application = importlib.import_module(module).APPLICATION
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        rule = f"names {package!r}, but there is no module {module}; install it or correct the name"
        raise SettingsError(f"{VARIABLE} {rule}") from None
    except AttributeError:
        raise SettingsError(f"{VARIABLE} names {package!r}, whose {module} defines no APPLICATION") from None
    if not isinstance(application, Application):
        raise SettingsError(f"{module}.APPLICATION must be an Application, not {type(application).__name__}")
    return application


def resolve(reference: str) -> Any:
    """Import the value that an import string of the form `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def tables(applications: Iterable[Application]) -> Sequence[Any]:
    """All Piccolo tables of the applications."""
    return [table for each in applications if each.tables for table in resolve(each.tables)]


def grants(applications: Iterable[Application]) -> Sequence[Grants]:
    """The access rights that the applications declare for their tables."""
    return [resolve(each.grants) for each in applications if each.grants]
