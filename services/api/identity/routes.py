"""Collects the routes of accounts, sign-in and API keys."""

from litestar import Router

from services.api.identity import account_routes, key_routes, verification_pages, verification_routes

#: Routes for callers without credentials. All of them hash a password, so they have a stricter rate
#: limit.
SIGN_IN = Router("", route_handlers=[account_routes.register, account_routes.login], tags=["accounts"])
#: Routes for callers that authenticate with a refresh token.
RENEWAL = Router("", route_handlers=[account_routes.refresh], tags=["accounts"])
#: Routes for callers that send the token from a confirmation mail.
VERIFICATION = Router("", route_handlers=[verification_routes.verify], tags=["accounts"])
#: The pages that the links in confirmation mails open.
PAGES = Router("", route_handlers=[verification_pages.ask, verification_pages.confirm])
ACCOUNTS = Router(
    "",
    route_handlers=[
        account_routes.me,
        account_routes.logout,
        account_routes.logout_all,
        account_routes.change_password,
        account_routes.list_accounts,
        account_routes.get_account,
        account_routes.change_account,
        verification_routes.ask_again,
        verification_routes.change_address,
    ],
    tags=["accounts"],
)
KEYS = Router(
    "",
    route_handlers=[key_routes.make, key_routes.list_keys, key_routes.revoke, key_routes.revoke_all],
    tags=["keys"],
)
