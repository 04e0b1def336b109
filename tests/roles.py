"""Addresses of Postgres and Redis by role. On a test's server all roles have the administrator's password."""

from urllib.parse import urlsplit, urlunsplit

from local import valkey
from local.postgres import SUPERUSER, Postgres
from shared.roles import API, OWNER, SCHEDULER, SERVICES, WORKER

#: The role of each service's process, by the start of its module.
_OF_MODULE = {
    "services.api": API,
    "bench.constant_api": API,
    "services.scheduler": SCHEDULER,
    "shared.migrate": OWNER,
}

#: Roles that tests connect as, and no process does.
_ADMINISTRATORS = (SUPERUSER, OWNER, valkey.ADMINISTRATOR)


def as_role(url: str, role: str) -> str:
    """The same database, reached by another role."""
    parts = urlsplit(url)
    password = parts.netloc.partition("@")[0].partition(":")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.partition('@')[2]}"))


def of_module(url: str, module: str) -> str:
    """The address that the process of this module gets; a test's own modules run workers.

    A role that the test has chosen itself stays.
    """
    if urlsplit(url).netloc.partition(":")[0] not in _ADMINISTRATORS:
        return url
    matches = (role for start, role in _OF_MODULE.items() if module.startswith(start))
    return as_role(url, next(matches, WORKER))


def make_roles(server: Postgres, database: str) -> None:
    """Give a database its owner. The roles themselves are those of the whole server."""
    server.make_roles(database, dict.fromkeys((OWNER, *SERVICES), server.password))
