"""Tests, with real processes, that a bulk operation is completed although its worker is killed in
the middle.
"""

import asyncio
import contextlib
from uuid import UUID

from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform

#: Number of tasks of the bulk operation. They are processed in several batches. No worker serves
#: their queue, so they keep the state that the operation gives them.
TASKS = 6_000
ADD_FAILED = """
    WITH failed AS (
        INSERT INTO task (id, name, type, contract_version, queue, priority, params, max_attempts, status,
                          error_kind, completed_at, claim, attempt, failures, started_at)
        SELECT uuidv7(), 'system.health_check', 'system', 1, 'unserved', 5, '{{}}', 1, 'failure', 'bug',
               now(), 1, 1, 1, now() FROM generate_series(1, {}::int)
        RETURNING id, name, queue, completed_at
    )
    INSERT INTO task_failure (task_id, name, queue, failed_at) SELECT * FROM failed
"""
#: SQL that counts how many tasks were retried how often.
BEGUN = """
    SELECT claim - 1 AS times, count(*)::int AS n FROM task WHERE queue = 'unserved' GROUP BY 1 ORDER BY 1
"""
#: SQL that counts the stored attempts of the tasks. The earlier failure of each task must be stored
#: exactly once.
ATTEMPTS = """
    SELECT count(*)::int AS n FROM task_attempt AS a JOIN task AS t ON t.id = a.task_id
    WHERE t.queue = 'unserved'
"""
#: SQL that counts the task ids in the audit log entries about the bulk operation, and the different
#: ones among them.
TOLD = """
    SELECT count(*)::int AS n, count(DISTINCT changed)::int AS different
    FROM audit, jsonb_array_elements_text(after -> 'ids') AS changed
    WHERE action = 'bulk.applied' AND target = {}
"""


async def test_a_bulk_retry_whose_worker_was_killed_repeats_and_forgets_nothing(platform: Platform) -> None:
    await platform.rows(ADD_FAILED, TASKS)
    api = Api(platform)
    await api.start()
    await platform.start_scheduler()
    worker = await platform.start_worker()
    async with contextlib.aclosing(await api.sign_up("operator")) as operator:
        asked = {"action": "retry", "filter": {"status": ["failure"], "queue": ["unserved"]}}
        preview = (await operator.post("bulk", json={**asked, "dry_run": True})).json()
        # Counting is limited to half a second. On a busy machine it may stop early, and then the
        # preview says that the count is not exact.
        assert (preview["matches"] == TASKS or not preview["exact"], len(preview["sample"])) == (True, 10)
        started = {**asked, "token": preview["token"], "expected": preview["matches"], "reason": "a drill"}
        answer = await operator.post("bulk", json=started)
        assert answer.status_code == 202
        bulk_id = UUID(answer.json()["bulk_id"])

        await eventually(lambda: _begun(platform, bulk_id))
        worker.kill()
        await asyncio.to_thread(worker.wait)
        (row,) = await platform.rows("SELECT done, outcome FROM bulk_act")
        assert (0 < row["done"] < TASKS, row["outcome"]) == (True, None)
        await platform.start_worker()
        await platform.until(UUID(answer.json()["task_id"]), "success", timeout_s=60)

        shown = (await operator.get(f"bulk/{bulk_id}")).json()
    assert (shown["state"], shown["done"], shown["skipped"]) == ("completed", TASKS, 0)
    assert await platform.rows(BEGUN) == [{"times": 1, "n": TASKS}]
    assert await platform.rows(TOLD, str(bulk_id)) == [{"n": TASKS, "different": TASKS}]
    assert await platform.rows(ATTEMPTS) == [{"n": TASKS}]


async def _begun(platform: Platform, bulk_id: UUID) -> bool:
    (row,) = await platform.rows("SELECT done > 0 AS begun FROM bulk_act WHERE id = {}", bulk_id)
    return bool(row["begun"])
