"""URLs of a test's Postgres and Redis for each role.

On these servers all roles have the administrator's password.
"""

from urllib.parse import urlsplit, urlunsplit

from local import valkey
from local.postgres import SUPERUSER, Postgres
from shared.roles import API, OWNER, SCHEDULER, SERVICES, WORKER

#: The Postgres role of a process, by the beginning of its module's name.
_OF_MODULE = {
    "services.api": API,
    "bench.constant_api": API,
    "services.scheduler": SCHEDULER,
    "shared.migrate": OWNER,
}

#: Roles that only tests use to connect, never a process.
_ADMINISTRATORS = (SUPERUSER, OWNER, valkey.ADMINISTRATOR)


def as_role(url: str, role: str) -> str:
    """The URL of the same database, with another role as the user."""
    parts = urlsplit(url)
    password = parts.netloc.partition("@")[0].partition(":")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.partition('@')[2]}"))


def of_module(url: str, module: str) -> str:
    """The URL with the role that suits the process of this module. An unknown module belongs to a
    test and runs a worker.

    If the URL names a service's role, the test has chosen it, so the URL is unchanged.
    """
    if urlsplit(url).netloc.partition(":")[0] not in _ADMINISTRATORS:
        return url
    matches = (role for start, role in _OF_MODULE.items() if module.startswith(start))
    return as_role(url, next(matches, WORKER))


def make_roles(server: Postgres, database: str) -> None:
    """Create the platform's roles, and give the database its owner.

    Roles exist once per server, not per database.
    """
    server.make_roles(database, dict.fromkeys((OWNER, *SERVICES), server.password))
