"""Translates the errors of the Redis driver into the platform's own errors. No other code does
this.
"""

from typing import Any

import redis.asyncio as redis
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError

from shared.errors import ServerAway, ServerRefuses


async def answer_of(command: Any) -> Any:
    """Await a Redis command and return its answer. Raises NoScriptError, or ServerUnavailable with
    the reason.
    """
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
