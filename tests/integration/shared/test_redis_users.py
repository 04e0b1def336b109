"""Tests that the Redis user of each service may access the platform's keys with the commands that
the service needs.
"""

import pytest
import redis
from redis.exceptions import NoPermissionError

from shared.roles import API, SCHEDULER, SERVICES, WORKER
from tests.roles import as_role

FOR_NOBODY = [
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "CONFIG GET save",
    "SCRIPT FLUSH",
    "ACL LIST",
    "SHUTDOWN",
]


@pytest.mark.parametrize("role", SERVICES)
@pytest.mark.parametrize("command", [*FOR_NOBODY, "SET other 1", "GET other"])
def test_no_service_may_run_a_forbidden_command(redis_url: str, role: str, command: str) -> None:
    with (
        redis.Redis.from_url(as_role(redis_url, role)) as client,
        pytest.raises(NoPermissionError),
    ):
        client.execute_command(*command.split())


@pytest.mark.parametrize(
    ("role", "command"),
    [
        (API, "LPOP often:lane:default:5"),
        (API, "SREM often:unacked:x y"),
        (WORKER, "INFO server"),
        (WORKER, "MSET often:generation 1"),
        (SCHEDULER, "SUBSCRIBE often:cancel:x"),
    ],
)
def test_a_service_may_not_run_commands_of_another_service(redis_url: str, role: str, command: str) -> None:
    with (
        redis.Redis.from_url(as_role(redis_url, role)) as client,
        pytest.raises(NoPermissionError),
    ):
        client.execute_command(*command.split())
