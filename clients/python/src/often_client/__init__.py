"""A Python client of the API of Often Tasks. For example:

from often_client import Client

with Client("http://127.0.0.1:8000", api_key) as api:
    task_id = api.submit("system.health_check", {})
    print(api.wait(task_id).result)
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from often_client.answers import Task as Task
    from often_client.answers import TaskResult as TaskResult
    from often_client.async_client import AsyncClient as AsyncClient
    from often_client.client import Client as Client
    from often_client.errors import ApiAway as ApiAway
    from often_client.errors import ApiError as ApiError
    from often_client.errors import BadRequest as BadRequest
    from often_client.errors import Conflict as Conflict
    from often_client.errors import Forbidden as Forbidden
    from often_client.errors import NotFound as NotFound
    from often_client.errors import NotSignedIn as NotSignedIn
    from often_client.errors import OftenError as OftenError
    from often_client.errors import ServerError as ServerError
    from often_client.errors import TooManyRequests as TooManyRequests
    from often_client.errors import Unavailable as Unavailable
    from often_client.errors import UnexpectedAnswer as UnexpectedAnswer
    from often_client.events import Event as Event

#: Names that this package exports, with the module that defines each. A module is imported on first
#: use of a name, because `often --help` needs none of them.
_HOMES = {
    "ApiAway": "errors",
    "ApiError": "errors",
    "AsyncClient": "async_client",
    "BadRequest": "errors",
    "Client": "client",
    "Conflict": "errors",
    "Event": "events",
    "Forbidden": "errors",
    "NotFound": "errors",
    "NotSignedIn": "errors",
    "OftenError": "errors",
    "ServerError": "errors",
    "Task": "answers",
    "TaskResult": "answers",
    "TooManyRequests": "errors",
    "Unavailable": "errors",
    "UnexpectedAnswer": "errors",
}


def __getattr__(name: str) -> object:
    import importlib  # noqa: PLC0415 - only for programs that use a name of the package

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
