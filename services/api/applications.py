"""Defines what an application, a package of tasks that extends the platform, adds to the API.

An application sets `Application.routes` to this value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litestar.types import ControllerRouterHandler

from services.api.audit.actions import Leaves
from services.api.console import rights as console
from services.api.identity.rights import PUBLIC, RIGHTS, Right, Rights
from shared.applications import Application, resolve
from shared.contracts.account_mail import SendAccountMail
from shared.contracts.contract import Contract
from shared.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The routes of one application, each with its entry in the table of rights."""

    #: Routes below `/api/v1`, for signed-in callers.
    signed_in: Sequence[ControllerRouterHandler] = ()
    #: Routes outside `/api/v1` that need no sign-in and are rate-limited by address.
    public: Sequence[ControllerRouterHandler] = ()
    #: Access rights: one entry for each route in `signed_in`, by method and path.
    rights: Mapping[str, Right] = field(default_factory=dict)
    #: One entry for each route in `public`, with the actions that the route records in the audit
    #: log.
    public_rights: Mapping[str, Leaves] = field(default_factory=dict)


def routes_of(applications: Iterable[Application]) -> list[Routes]:
    """Load the `Routes` of every application that adds routes to the API."""
    return [resolve(each.routes) for each in applications if each.routes]


def rights_of(routes: Iterable[Routes]) -> Rights:
    """The access rights of the platform and of all applications, as one table."""
    entries, public = {**RIGHTS, **console.RIGHTS}, {**PUBLIC, **console.PUBLIC}
    for each in routes:
        entries |= each.rights
        public |= each.public_rights
    return Rights(entries, public)


def account_mail_of(applications: Iterable[Application]) -> Contract[SendAccountMail, Any] | None:
    """The contract of the task that mails people about their accounts, from the application that
    has one. Raises SettingsError if several applications have such a contract, or if its parameters
    are not those that the platform sends.
    """
    named = [each for each in applications if each.account_mail]
    if len(named) > 1:
        names = " and ".join(each.name for each in named)
        raise SettingsError(f"{names} both have account_mail: leave one of them out of OFTEN_APPLICATIONS")
    if not named:
        return None
    contract: Contract[Any, Any] = resolve(named[0].account_mail)
    if contract.params is not SendAccountMail or not contract.internal:
        rule = "must take SendAccountMail and be internal"
        raise SettingsError(f"{contract.name}, the account_mail of {named[0].name}, {rule}")
    return contract
