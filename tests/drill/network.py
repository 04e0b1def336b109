"""Defines how the processes of a drill scenario reach Postgres and Redis. A fault may replace this
network, for example to insert a proxy.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Network:
    """The URLs under which processes reach Postgres and Redis. Subclasses add what a fault breaks
    in between.
    """

    database_url: str
    redis_url: str
    #: URL of the database for the drill's own sessions. Empty if it is that of the scenario.
    own_url: str = ""


#: The type of a function that sets up a network for a database URL and a Redis URL. The folder is
#: for the files of additional servers.
Lay = Callable[[str, str, Path], AbstractAsyncContextManager[Network]]
