"""What an application adds to the API; the value of `Application.routes`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litestar.types import ControllerRouterHandler

from services.api.audit.actions import Leaves
from services.api.identity.rights import PUBLIC, RIGHTS, Right, Rights
from shared.applications import Application, resolve
from shared.contracts.account_mail import SendAccountMail
from shared.contracts.contract import Contract
from shared.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Routes of one application, each with its entry in the table of rights."""

    #: Below `/api/v1`, for signed-in callers.
    signed_in: Sequence[ControllerRouterHandler] = ()
    #: At the root, for everybody; limited by address.
    public: Sequence[ControllerRouterHandler] = ()
    #: One entry for each of `signed_in`, by method and path.
    rights: Mapping[str, Right] = field(default_factory=dict)
    #: One entry for each of `public`: what it leaves in the audit log.
    public_rights: Mapping[str, Leaves] = field(default_factory=dict)


def routes_of(applications: Iterable[Application]) -> list[Routes]:
    """The routes of all applications that have any."""
    return [resolve(each.routes) for each in applications if each.routes]


def rights_of(routes: Iterable[Routes]) -> Rights:
    """The platform's table of rights and those of the applications, as one."""
    entries, public = dict(RIGHTS), dict(PUBLIC)
    for each in routes:
        entries |= each.rights
        public |= each.public_rights
    return Rights(entries, public)


def account_mail_of(applications: Iterable[Application]) -> Contract[SendAccountMail, Any] | None:
    """The contract of the application that mails people about their accounts.

    Raises SettingsError when several applications have one, or when it takes other parameters.
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
