"""Finds the applications that run on this platform.

An application is an importable package that `OFTEN_APPLICATIONS` names. Its module `application` holds one
`Application`, which says by import strings where everything else is. Each service resolves only the strings
that it needs: the API never imports bodies, the worker never imports routes.
"""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import SettingsError
from shared.roles import Grants

#: Environment variable that names the packages, separated by commas.
VARIABLE = "OFTEN_APPLICATIONS"
DEFAULT = "shared.hotel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Where the parts of an application are. An empty string means that it has no such part.

    A package is written `shop.contracts`; a value in a module is written `shop.routes:ROUTES`.
    """

    name: str
    #: Package whose modules define contracts.
    contracts: str = ""
    #: Package whose modules declare `shared.workflows.scheduled.WorkflowSchedule`s.
    workflows: str = ""
    #: Package whose modules bind functions to contracts with `@task`.
    bodies: str = ""
    #: Function `(Settings) -> dict[type, Any]`: the clients that bodies ask for with `context.gateway`.
    gateways: str = ""
    #: A `shared.contracts.hooks.Hooks`.
    hooks: str = ""
    #: A `services.api.applications.Routes`.
    routes: str = ""
    #: Tuple of Piccolo tables.
    tables: str = ""
    #: A `shared.roles.Grants`: the rights of each service to these tables.
    grants: str = ""
    #: Module with Piccolo's `APP_CONFIG`, whose migrations run after the platform's.
    migrations: str = ""
    #: Function `(Settings) -> Mapping[str, str]`: the daily quotas that its contracts name, with their
    #: amounts as `shared.quota_amounts` reads them.
    quotas: str = ""
    #: Frozen dataclass of settings, read from the environment together with the platform's.
    settings: str = ""
    #: Contract that mails people about their accounts; its params are `shared.contracts.account_mail`'s.
    #: Where no application has one, addresses count as verified without a mail.
    account_mail: str = ""
    #: A `shared.personal.data.PersonalData`: what it stores of accounts.
    personal_data: str = ""


#: The platform's own contracts, bodies and tables are found in the same way.
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


def find(names: str) -> list[Application]:
    """The platform, then the applications of these packages, separated by commas. Raises SettingsError."""
    packages = [name.strip() for name in names.split(",") if name.strip()]
    return [PLATFORM, *(_find(package) for package in packages)]


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
    """The value that `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def tables(applications: Iterable[Application]) -> Sequence[Any]:
    """All Piccolo tables of the applications."""
    return [table for each in applications if each.tables for table in resolve(each.tables)]


def grants(applications: Iterable[Application]) -> Sequence[Grants]:
    """What the applications declare for their tables."""
    return [resolve(each.grants) for each in applications if each.grants]
