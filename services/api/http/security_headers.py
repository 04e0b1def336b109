"""What every answer tells browsers to leave alone."""

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
#: The page's own files may be kept: they change with the installed package only.
_KEPT = "/docs"


async def add(message: Message, scope: Scope) -> None:
    """Called before each message; a header that the handler has set stays."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in HEADERS.items():
        if name == "Cache-Control" and scope["path"].startswith(_KEPT):
            continue
        headers.setdefault(name, value)
