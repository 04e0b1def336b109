"""Shows errors as pages of the console. If a form was refused, the page from which it was sent
shows the reason.
"""

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.params import FromPath
from litestar.response import Redirect

from services.api.console import addresses, notices
from services.api.console.pages import Pages
from services.api.console.refusals import PageNotFound
from services.api.http import errors, request_ids
from services.api.http.errors import NotSignedIn

SIGN_IN = "/console/login"


@get("/{rest:path}", sync_to_thread=False)
def no_page(rest: FromPath[str]) -> None:
    """Handle every address below `/console` that has no page."""
    raise PageNotFound


class ErrorPages:
    """The exception handler of the console's routes."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def respond(self, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        if isinstance(error, NotSignedIn):
            return self._ask_to_sign_in(request, error)
        answer = errors.respond(request, error)  # also logs unexpected errors
        if not wants_page(request):
            return answer
        problem = answer.content
        is_refused_form = request.method == "POST" and problem.status < 500 and problem.status != 403
        if is_refused_form and (path := addresses.came_from(request)):
            return notices.back(request, path, _in_words(problem), tone="bad")
        headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-type"}
        page = self._pages.answer(
            request,
            "problem.html.j2",
            status=problem.status,
            problem=problem,
            rules=problem.errors or [],
            request_id=request_ids.of(request.scope),
        )
        page.headers.update(headers)
        return page

    def _ask_to_sign_in(self, request: Request[Any, Any, Any], error: NotSignedIn) -> Response[Any]:
        """Redirect a page to the sign-in form, which leads back afterwards. Requests by scripts and
        event streams only get the error.
        """
        if not wants_page(request) or "x-often-part" in request.headers:
            return errors.respond(request, error)
        target = addresses.came_from(request) if request.method == "POST" else addresses.of(request)
        return Redirect(f"{SIGN_IN}?next={quote(target or '/console', safe='/')}", status_code=303)


def wants_page(request: Request[Any, Any, Any]) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _in_words(problem: Any) -> str:
    rules = [f"{rule.field} {rule.rule}".strip() for rule in problem.errors or []]
    return f"{problem.detail} {'; '.join(rules)}".strip()
