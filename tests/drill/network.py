"""How the processes of a scenario reach their servers, for faults that happen on the way."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Network:
    """The addresses of Postgres and Redis; a fault adds what it breaks on the way to them."""

    database_url: str
    redis_url: str
    #: The database for the drill's own sessions; empty: the one that was made for the scenario.
    own_url: str = ""


#: Lays the way to a database and to Redis; the folder is for the files of further servers.
Lay = Callable[[str, str, Path], AbstractAsyncContextManager[Network]]
