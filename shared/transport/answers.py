"""Translates the errors of the Redis driver into the platform's own errors. No other code does
this.
"""

from typing import Any

import redis.asyncio as redis
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError, ResponseError

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


def is_wrong_type(answer: Any) -> bool:
    """True if Redis refused a command because a key holds a value of another type."""
    return isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE")
