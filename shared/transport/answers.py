"""The one boundary at which the errors of Redis' driver become those of the project."""

from typing import Any

import redis.asyncio as redis
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError

from shared.errors import ServerAway, ServerRefuses


async def answer_of(command: Any) -> Any:
    """Await a command. Raises NoScriptError, or ServerUnavailable with a message that says why."""
    try:
        return await command
    except NoScriptError:
        raise
    except (AuthenticationError, BusyLoadingError) as error:
        raise ServerRefuses("Redis", str(error)) from error
    except (redis.ConnectionError, redis.TimeoutError, OSError, TimeoutError) as error:
        raise ServerAway("Redis", reason=str(error)) from error
    except RedisError as error:
        raise ServerRefuses("Redis", str(error)) from error
