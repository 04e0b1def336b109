"""The console's routes to sign in and to sign out."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from services.api.audit.actor import Actor
from services.api.console import addresses, cookie, csrf
from services.api.console.pages import Pages
from services.api.console.refusals import NeedsHttps
from services.api.http.refusals import Refusal
from services.api.identity.account_schemas import Account
from services.api.identity.callers import Credential
from services.api.identity.cookie_sessions import CookieSessions
from services.api.identity.logins import Logins
from services.api.identity.passwords import Passwords

WRONG = "The address or the password is wrong."
#: Maximum length of a password in the sign-in form, as in the API.
MAX_PASSWORD = 1024


@get("/login", sync_to_thread=False)
def show_login(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    return _form(request, pages, addresses.local(request.query_params.get("next")))


@post("/login")
async def login(
    request: Request[Any, Any, Any],
    pages: NamedDependency[Pages],
    passwords: NamedDependency[Passwords],
    logins: NamedDependency[Logins],
    cookie_sessions: NamedDependency[CookieSessions],
    actor: NamedDependency[Actor],
) -> Response[Any]:
    csrf.check_origin(request.headers)
    if not cookie.can_be_kept(request):
        raise NeedsHttps
    form = addresses.fields(await request.form())
    following = addresses.local(form.get("next"))
    email, password = form.get("email", "")[:320], form.get("password", "")
    try:
        with passwords.place(actor.network):
            fits = len(password) <= MAX_PASSWORD
            account_id = await logins.authenticate(email, password, actor) if fits else None
    except Refusal as refusal:
        return _form(request, pages, following, email=email, problem=str(refusal), status=refusal.status)
    if account_id is None:
        return _form(request, pages, following, email=email, problem=WRONG)
    token = await cookie_sessions.open(account_id, actor)
    return Redirect(following, status_code=303, cookies=[cookie.made(request, token)])


@post("/logout")
async def logout(
    request: Request[Account, Credential, Any],
    cookie_sessions: NamedDependency[CookieSessions],
    actor: NamedDependency[Actor],
) -> Response[Any]:
    assert request.auth.session is not None
    await cookie_sessions.close(request.auth.session, actor)
    gone = cookie.removed(request)
    return Redirect("/console/login", status_code=303, cookies=[gone])


def _form(
    request: Request[Any, Any, Any],
    pages: Pages,
    following: str,
    *,
    email: str = "",
    problem: str = "",
    status: int = 200,
) -> Response[bytes]:
    insecure = "" if cookie.can_be_kept(request) else str(NeedsHttps())
    return pages.answer(
        request,
        "login.html.j2",
        status=status,
        following=following,
        email=email,
        problem=problem,
        insecure=insecure,
    )
