"""Creates the belongings of a person: one of each thing on which routes act."""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from services.api.bulk.schemas import BulkBody
from services.api.bulk.tokens import Previewed, Tokens
from shared.ledger.ids import LAST_ID, uuid7
from shared.ledger.protocol import PROTOCOL
from tests.installed import HOTEL
from tests.integration.api.conftest import Person
from tests.integration.api.examples import Belongings

if HOTEL:
    from tests.integration.api.hotel import examples as hotel

#: Request for a workflow that starts in an hour, so that none of its tasks runs during a test.
WORKFLOW = {
    "name": "checks",
    "steps": [{"step": "check", "task": "system.health_check", "params": {}, "delay_s": 3600}],
}
FAIL_STEP = """
    WITH step AS (UPDATE workflow_step SET state = 'failure', failed = 1 WHERE workflow = $1)
    UPDATE task SET status = 'failure', completed_at = now(), send_at = NULL WHERE workflow = $1
"""
START_BULK = """
    INSERT INTO bulk_act (id, task, kind, action, filter, given, actor, expected, exact, until, cursor)
    SELECT uuidv7(), $2, 'task', 'cancel', '{}', '{}', $1, 1, true, $2, $2 RETURNING id::text
"""
MAKE_ERROR_GROUP = """
    INSERT INTO error_group (fingerprint, name, kind, sample_task, first_at, last_at, first_release,
                             last_release)
    VALUES ($1, 'sample.fail', 'bug', uuidv7(), now(), now(), '1', '1') RETURNING fingerprint
"""


async def belongings_of(person: Person, database: Any, tokens: Tokens) -> Belongings:
    # The tasks are due in an hour, so that only the test's requests change their rows.
    later = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    task_id, ended_id = [(await person.post("tasks", later)).json()["task_id"] for _ in range(2)]
    await person.delete(f"tasks/{ended_id}")
    key = await person.post("keys", {"name": "a robot", "scopes": ["tasks:read"]})
    schedule = await database.fetchval(
        "INSERT INTO schedule (name, task_name, params, kind, expression, owner)"
        " VALUES ($1, 'system.health_check', '{}', 'interval', '1 h', $2) RETURNING name",
        f"of_{secrets.token_hex(8)}",
        person.id,
    )
    workflow_ids = [(await person.post("workflows", WORKFLOW)).json()["workflow_id"] for _ in range(2)]
    await database.execute(FAIL_STEP, UUID(workflow_ids[1]))
    queue, worker_id, crashed_id = await _operated(person, database)
    confirmation = secrets.token_urlsafe()
    await database.execute(
        'INSERT INTO account_confirmation (token_hash, "user", email, expires_at)'
        " VALUES ($1, $2, $3, now() + interval '1 hour')",
        *(hashlib.sha256(confirmation.encode()).digest(), person.id, person.email),
    )
    added = await hotel.belongings(person, database) if HOTEL else {}
    waiting, failed = workflow_ids
    return Belongings(
        person=person,
        task_id=task_id,
        ended_task_id=ended_id,
        key_id=key.json()["id"],
        schedule=schedule,
        workflow_id=waiting,
        failed_workflow_id=failed,
        queue=queue,
        worker_id=worker_id,
        fingerprint=await database.fetchval(MAKE_ERROR_GROUP, f"v2:{secrets.token_hex(8)}"),
        crashed_task_id=crashed_id,
        bulk_id=await database.fetchval(START_BULK, person.id, UUID(task_id)),
        bulk=_previewed(person, waiting, tokens),
        confirmation=confirmation,
        added=added,
    )


def _previewed(person: Person, workflow_id: str, tokens: Tokens) -> dict[str, Any]:
    """Body of a request for a bulk operation on the only task of this workflow."""
    body = {"action": "cancel", "filter": {"owner": person.id, "workflow": workflow_id}}
    previewed = Previewed(uuid7(datetime.now(UTC)), LAST_ID, is_exact=True)
    token, _ = tokens.make(previewed, msgspec.convert(body, BulkBody))
    return {**body, "token": token, "expected": 1}


async def _operated(person: Person, database: Any) -> tuple[str, str, str]:
    """Create a paused queue, a worker, and a task in a crash loop."""
    queue = await database.fetchval(
        "INSERT INTO queue_control (queue, paused_at, paused_by) VALUES ($1, now(), $2) RETURNING queue",
        f"of_{secrets.token_hex(8)}",
        person.id,
    )
    worker_id = await database.fetchval(
        "INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol)"
        " VALUES (gen_random_uuid(), 'test', 1, '{nowhere}', 1, $1, $2) RETURNING id::text",
        *(secrets.randbits(62), PROTOCOL),
    )
    later = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    crashed_id = (await person.post("tasks", later)).json()["task_id"]
    await database.execute(
        "UPDATE task SET status = 'failure', error_kind = 'crash_loop', completed_at = now(), send_at = NULL"
        " WHERE id = $1",
        UUID(crashed_id),
    )
    return queue, worker_id, crashed_id
