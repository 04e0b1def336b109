"""Renders the console's pages with the templates, the values that all of them use, and the headers."""

import gzip
from datetime import UTC, datetime
from typing import Any, Final

import jinja2
from litestar import Request, Response

from services.api.console import addresses, csrf, formats, notices, policy, preferences, states
from services.api.console.static_files import StaticFiles
from services.api.http.schemas import MAX_REASON
from services.api.identity.rights import Reach, Rights
from services.api.words import plural
from shared.identity.tables import Role

#: Sections of the console: the address, the label in the menu, and the key that opens the section
#: after the key `g`.
SECTIONS: Final = (
    ("/console", "Overview", "o"),
    ("/console/tasks", "Tasks", "t"),
    ("/console/bulk", "Bulk", "b"),
    ("/console/workflows", "Workflows", "w"),
    ("/console/errors", "Errors", "e"),
    ("/console/queues", "Queues", "q"),
    ("/console/workers", "Workers", "k"),
    ("/console/schedules", "Schedules", "s"),
    ("/console/servers", "Servers", "v"),
    ("/console/audit", "Audit", "a"),
    ("/console/accounts", "Accounts", "c"),
    ("/console/keys", "Keys", "y"),
)
#: Gzip compression level of pages. Compressing 30 kB of HTML takes 0.4 ms at this level. The
#: default level takes 0.9 ms and saves only 3 % more.
LEVEL: Final = 4


class Pages:
    """The page templates, each of which is compiled on first use."""

    def __init__(self, tokens: csrf.Tokens, static_files: StaticFiles, rights: Rights) -> None:
        self._tokens = tokens
        self._rights = rights
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("services.api.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "duration": formats.duration,
            "exact": formats.exact,
            "clock": formats.clock,
            "number": formats.number,
            "size": formats.size,
            "short_id": formats.short_id,
            "as_json": formats.as_json,
            "sign": states.sign_of,
        }
        self._environment.globals |= {
            "plural": plural,
            "max_reason": MAX_REASON,
            "static": static_files.address,
        }

    def answer(
        self, request: Request[Any, Any, Any], template: str, *, status: int = 200, **values: Any
    ) -> Response[bytes]:
        """Render a page, for a signed-in caller or for one who is not.

        A form that breaks rules is shown again with the status 200, because browsers report every
        other status as a failure to load.
        """
        # Each notice is shown once. A page that refreshes itself in the background must not use up
        # a notice that is meant for the page to which a form redirects.
        notice = None if request.headers.get("x-often-part") == "refresh" else notices.read(request)
        context = {"notice": notice, **self._common(request), **values}
        text = self._environment.get_template(template).render(context)
        response = _packed(request, text, status)
        if notice is not None:
            notices.forget(request, response)
        return response

    def may(self, role: Role, route: str) -> bool:
        """True if the role may use a route. The route is written as in the table of rights."""
        return self._rights.entries[route].reach[role] is not Reach.NONE

    def _common(self, request: Request[Any, Any, Any]) -> dict[str, Any]:
        now = datetime.now(UTC)
        user, session = request.scope.get("user"), getattr(request.scope.get("auth"), "session", None)

        def may(route: str) -> bool:
            return user is not None and self.may(user.role, route)

        def token(form: str) -> str:
            """The CSRF token for the hidden field of the forms in one section of the console, such
            as `tasks`.
            """
            return "" if session is None else self._tokens.make(session, form)

        def relative(moment: datetime) -> str:
            return formats.relative(moment, now)

        return {
            "user": user,
            "may": may,
            "token": token,
            "relative": relative,
            "now": now,
            "path": request.url.path,
            "address": addresses.of(request),
            "sections": [each for each in SECTIONS if may(f"GET {each[0]}")] if user else [],
            "chosen": preferences.read(request),
        }


def _packed(request: Request[Any, Any, Any], text: str, status: int) -> Response[bytes]:
    content, headers = text.encode("utf-8", "replace"), dict[str, str](policy.HEADERS)
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(content, status_code=status, media_type="text/html", headers=headers)
