"""Tests what the API answers when Postgres' reply to a submission is lost: that the task may be
stored, and how to repeat the request.
"""

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from shared.settings import Settings
from tests.eventually import eventually
from tests.integration.api.conftest import Person, side_by_side

HEALTH_CHECK = {"name": "system.health_check", "params": {}}
#: Finds sessions that wait for a lock on `task`. It reads pg_locks, because inside a transaction
#: pg_stat_activity keeps showing the same state.
BLOCKED = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'task'::regclass"


async def _submit_blocked(
    client: httpx.AsyncClient, person: Person, database: Any, *, cut: bool, headers: dict[str, str]
) -> Any:
    """Submit a task while a lock blocks its INSERT.

    If `cut`, the blocked connection is terminated. Returns the API's answer.
    """
    async with database.transaction():
        await database.execute("LOCK TABLE task IN SHARE MODE")
        asked = asyncio.create_task(
            client.post("/api/v1/tasks", json=HEALTH_CHECK, headers={**person.headers, **headers})
        )
        await eventually(lambda: database.fetchval(BLOCKED))

        async def is_answered() -> bool:
            # The statement that marks earlier tasks may wait for the lock, too, so all waiting
            # sessions are terminated.
            await database.execute(f"SELECT pg_terminate_backend(pid) FROM ({BLOCKED}) AS blocked")
            return asked.done()

        if cut:
            await eventually(is_answered)
        return await asked


@pytest.mark.parametrize(
    ("cut", "kind"), [(True, "server-away"), (False, "request-too-slow")], ids=["cut off", "too slow"]
)
@pytest.mark.parametrize(
    ("headers", "advice"),
    [({}, "Check before you send"), ({"Idempotency-Key": "k"}, "with the same Idempotency-Key")],
    ids=["without key", "with key"],
)
async def test_a_submission_that_may_be_stored_is_answered_as_such(
    guest: Person,
    settings: Settings,
    database: asyncpg.Connection,
    cut: bool,
    kind: str,
    headers: dict[str, str],
    advice: str,
) -> None:
    given = dataclasses.replace(settings, request_timeout=timedelta(seconds=30 if cut else 0.5))
    async with side_by_side(given) as client:
        answer = await _submit_blocked(client, guest, database, cut=cut, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (503, f"urn:often:problem:{kind}")
    assert answer.headers["retry-after"] == "1"
    assert problem["outcome_unknown"] is True
    assert "The request may have been carried out nevertheless." in problem["detail"]
    assert advice in problem["detail"]


async def test_a_submission_that_postgres_refused_was_not_carried_out(
    guest: Person, settings: Settings, database: asyncpg.Connection
) -> None:
    async with side_by_side(settings) as client, database.transaction():
        await database.execute("LOCK TABLE task IN SHARE MODE")
        answer = await client.post("/api/v1/tasks", json=HEALTH_CHECK, headers=guest.headers)
    assert (answer.status_code, "outcome_unknown" in answer.json()) == (503, False)
    assert "Send the same request again shortly." in answer.json()["detail"]
