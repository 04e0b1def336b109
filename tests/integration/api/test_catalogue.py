"""Tests of the catalogue of tasks: what clients learn about each kind of task, and which kinds they
see.
"""

from typing import Any

from litestar.testing import AsyncTestClient

from services.api import app
from shared.contracts.catalogue import Catalogue
from shared.settings import Settings
from tests.integration.api.conftest import Person
from tests.sample_tasks import PAY


async def _tasks(person: Person) -> dict[str, Any]:
    answer = await person.get("catalogue")
    assert answer.status_code == 200
    return {task["name"]: task for task in answer.json()["tasks"]}


async def test_every_task_is_described_well_enough_to_be_submitted(guest: Person) -> None:
    greet = (await _tasks(guest))["sample.greet"]
    params = greet.pop("params")
    assert greet.pop("result")["$ref"].startswith("#/$defs/")
    assert params["$defs"]["Greet"]["required"] == ["user_id"]
    assert params["$defs"]["Greet"]["additionalProperties"] is False
    assert greet == {
        "name": "sample.greet",
        "queue": "greetings",
        "version": 1,
        "priority": 5,
        "staff_only": False,
        "needs_key": False,
        "quota": None,
        "recipient": "user_id",
        "retries": {"max_attempts": 5, "delay_s": 5.0, "factor": 3.0, "cap_s": 1800.0, "jitter": 0.2},
        "time_limit_s": 1800.0,
        "max_wait_s": None,
    }


async def test_tasks_for_staff_are_listed_for_staff_only(
    guest: Person, administrator: Person, database: Any
) -> None:
    of_guest, of_staff = await _tasks(guest), await _tasks(administrator)
    restricted = {name for name, task in of_staff.items() if task["staff_only"]}
    assert "maintenance.cleanup_old_tasks" in restricted
    assert of_guest.keys() == of_staff.keys() - restricted
    await database.execute("UPDATE account SET role = 'viewer' WHERE id = $1", guest.id)
    assert (await _tasks(guest)).keys() == of_guest.keys()


async def test_sensitive_fields_are_marked(guest: Person, settings: Settings) -> None:
    async with AsyncTestClient(app.build(settings, Catalogue([PAY]))) as client:
        answer = await client.get("/api/v1/catalogue", headers=guest.headers)
    (pay,) = answer.json()["tasks"]
    fields = pay["params"]["$defs"]["Pay"]["properties"]
    assert {name for name, field in fields.items() if field.get("x-sensitive")} == PAY.sensitive_params
    assert fields["card"]["type"] == "string"
