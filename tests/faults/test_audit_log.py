"""Tests that the audit log contains an action even if the API process is killed right after
answering.
"""

import secrets
from typing import Any, NamedTuple

import httpx

from shared.contracts.system import HEALTH_CHECK, HealthCheck
from tests.api_process import Api
from tests.platform import Platform

PASSWORD = secrets.token_hex()
SCHEDULE = {
    "name": "health.hourly",
    "task_name": "system.health_check",
    "params": {},
    "kind": "interval",
    "expression": "1 h",
}

MAKE_WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES (uuidv7(), 'test', 1, '{{default}}', 1, 1) RETURNING id
"""
#: SQL that returns true if the requests about the queue, the worker and the task have taken effect.
DONE = """
    SELECT paused_at IS NOT NULL AND w.asked = 'drain' AND t.priority = 9 AND t.status = 'revoked' AS done
    FROM queue_control AS c, worker AS w, task AS t WHERE c.queue = 'default' AND t.id = {}
"""


class Act(NamedTuple):
    """A request of an administrator, with the name under which the audit log must contain it."""

    action: str
    method: str
    path: str
    body: Any = None


async def test_the_log_contains_each_act_of_an_api_that_was_killed_right_after_its_answer(
    platform: Platform,
) -> None:
    api = Api(platform)
    await api.start()
    guest, _ = await _sign_up(api.url, "guest@often.example")
    administrator, tokens = await _sign_up(api.url, "administrator@often.example")
    await platform.rows("UPDATE account SET role = 'administrator' WHERE id = {}", administrator)
    (task,) = await platform.submit(HEALTH_CHECK, HealthCheck(), owner=guest)
    (worker,) = await platform.rows(MAKE_WORKER)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    for act in _acts(guest, str(task), str(worker["id"])):
        async with httpx.AsyncClient(base_url=f"{api.url}/api/v1/", headers=headers, trust_env=False) as http:
            answer = await http.request(act.method, act.path, json=act.body)
            api.process.kill()
        assert answer.is_success, answer.text
        api.process.wait(timeout=30)
        rows = await platform.rows("SELECT actor, action, request_id FROM audit ORDER BY id DESC LIMIT 1")
        request_id = answer.headers["X-Request-Id"]
        assert rows == [{"actor": administrator, "action": act.action, "request_id": request_id}]
        await api.start()
    assert [row["done"] for row in await platform.rows(DONE, task)] == [True]


def _acts(guest: int, task: str, worker: str) -> list[Act]:
    """The requests to test, in an order in which each one is allowed."""
    return [
        Act("account.role_changed", "PATCH", f"accounts/{guest}", {"role": "viewer"}),
        Act("account.deactivated", "PATCH", f"accounts/{guest}", {"is_active": False}),
        Act("key.all_revoked", "DELETE", f"keys?owner={guest}"),
        Act("queue.paused", "POST", "queues/default/pause", {"reason": "a drill"}),
        Act("worker.drained", "POST", f"workers/{worker}/drain"),
        Act("task.changed", "PATCH", f"tasks/{task}", {"priority": 9}),
        Act("task.canceled", "DELETE", f"tasks/{task}"),
        Act("task.retried", "POST", f"tasks/{task}/retry"),
        Act("queue.purged", "POST", "queues/default/purge", {"confirm": "default"}),
        Act("task.submitted", "POST", "tasks", {"name": "maintenance.cleanup_old_tasks", "params": {}}),
        Act("schedule.made", "POST", "schedules", SCHEDULE),
        Act("schedule.changed", "PATCH", "schedules/health.hourly", {"enabled": False}),
        Act("schedule.fired", "POST", "schedules/health.hourly/fire"),
        Act("schedule.removed", "DELETE", "schedules/health.hourly"),
        Act("account.erasure_requested", "DELETE", f"accounts/{guest}"),
        Act("session.all_closed", "POST", "auth/logout-all"),
    ]


async def _sign_up(url: str, email: str) -> tuple[int, dict[str, Any]]:
    """Register an account and sign in. Returns its id and the tokens of its session."""
    credentials = {"email": email, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=f"{url}/api/v1/auth/", trust_env=False) as http:
        account = (await http.post("register", json=credentials)).json()
        return account["id"], (await http.post("login", json=credentials)).json()
