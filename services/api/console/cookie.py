"""Reads and creates the cookie that holds a console session, and checks whether a connection is
safe enough for one.
"""

import re
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie

from services.api.identity.cookie_sessions import LIFE

#: Name of the session cookie over HTTPS. With the prefix `__Host-`, browsers accept the cookie only
#: over HTTPS and only for this host.
SECURE = "__Host-often"
#: Name of the session cookie over plain HTTP on localhost, where browsers refuse the prefix
#: `__Host-`.
PLAIN = "often"
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")

Connection = ASGIConnection[Any, Any, Any, Any]


def is_secure(connection: Connection) -> bool:
    """True if the browser uses HTTPS, either to this server or to a trusted proxy that reports it."""
    return connection.scope["scheme"] == "https"


def can_be_kept(connection: Connection) -> bool:
    """True if this connection is safe enough for a session: it uses HTTPS, or plain HTTP on
    localhost. Over plain HTTP from another machine, others could read the cookie.
    """
    host = connection.headers.get("host", "")
    return is_secure(connection) or _LOOPBACK.fullmatch(host) is not None


def read(connection: Connection) -> str | None:
    """The session token in the request's cookie, or None if the request has no such cookie."""
    return connection.cookies.get(_name(connection)) or None


def made(connection: Connection, token: str) -> Cookie:
    return _cookie(connection, token, int(LIFE.total_seconds()))


def removed(connection: Connection) -> Cookie:
    return _cookie(connection, "", 0)


def preference(connection: Connection, name: str, value: str, *, max_age_s: int) -> Cookie:
    """A cookie that stores a preference. It contains no secret."""
    secure = is_secure(connection)
    return Cookie(name, "/console", value, max_age_s, secure=secure, httponly=True, samesite="lax")


def _name(connection: Connection) -> str:
    return SECURE if is_secure(connection) else PLAIN


def _cookie(connection: Connection, value: str, max_age_s: int) -> Cookie:
    # With SameSite `lax`, the browser sends the cookie when a user follows a link from an alert, so
    # the link leads to its page and not to the sign-in. This is safe, because a GET changes
    # nothing.
    secure = is_secure(connection)
    return Cookie(_name(connection), "/", value, max_age_s, secure=secure, httponly=True, samesite="lax")
