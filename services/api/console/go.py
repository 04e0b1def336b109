"""Handles the console's field "Go to", which leads from a few typed characters to the page that
they name.
"""

import re
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.response import Redirect

from services.api.console.pages import SECTIONS, Pages
from services.api.operations.queues import QueueControls

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9_.]+")
MAX_LENGTH: Final = 200


@get("/go")
async def go(
    request: Request[Any, Any, Any],
    queue_controls: NamedDependency[QueueControls],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    text = request.query_params.get("q", "").strip()[:MAX_LENGTH]
    role = request.user.role
    queues = await queue_controls.known() if pages.may(role, "GET /api/v1/queues") else []
    sections = [(path, word) for path, word, _ in SECTIONS if pages.may(role, f"GET {path}")]
    return Redirect(target(text, sections, queues), status_code=303)


def target(text: str, sections: list[tuple[str, str]], queues: list[str]) -> str:
    """Return the address for the text that a user typed: the name of a section, an id, a queue, or
    a task's name. Any other text is searched for in error messages.
    """
    for path, word in sections:
        if text.lower() == word.lower():
            return path
    if found := _id(text):
        return f"/console/tasks/{found}"
    if text in queues:
        return f"/console/tasks?queue={quote(text, safe='')}"
    if _NAME.fullmatch(text):
        return f"/console/tasks?name={quote(text, safe='')}"
    return f"/console/tasks?error={quote(text, safe='')}" if text else "/console/tasks"


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
