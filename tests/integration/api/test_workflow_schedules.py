"""Tests of schedules that start workflows, over HTTP."""

from dataclasses import replace
from typing import Any

import pytest

from shared.settings import Settings
from tests.integration.api.conftest import Person

NAME = "clockwork.tick.each_second"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, applications=f"{settings.applications},tests.clockwork".lstrip(","))


@pytest.fixture
async def operator(operator: Person, database: Any) -> Person:
    """An operator.

    The database has a schedule that starts a workflow, stored as the leading scheduler does.
    """
    await database.execute(
        "INSERT INTO schedule (name, source, workflow, params, kind, expression, declared, next_fire_time,"
        " overlap) VALUES ($1, 'contract', 'tick', '{}', 'interval', '1 s', 'x', now() + interval '1 h',"
        " 'skip')",
        NAME,
    )
    return operator


async def test_a_schedule_of_a_workflow_is_shown_changed_and_fired(operator: Person, database: Any) -> None:
    shown = (await operator.get(f"schedules/{NAME}")).json()
    assert (shown["task_name"], shown["workflow"], shown["params"]) == (None, "tick", {})

    answer = await operator.post(f"schedules/{NAME}/fire", None)
    assert answer.status_code == 202, answer.text
    workflow_id = answer.json()["workflow_id"]
    assert f"/api/v1/workflows/{workflow_id}" in answer.json()["message"]
    flow = await database.fetchrow("SELECT id::text, schedule, fire_time FROM workflow")
    assert (flow["id"], flow["schedule"]) == (workflow_id, NAME)
    ((firing,),) = [(await operator.get(f"schedules/{NAME}/firings")).json()["items"]]
    assert (firing["workflow_id"], firing["task_id"]) == (workflow_id, None)
    (row,) = await database.fetch("SELECT after FROM audit WHERE action = 'schedule.fired'")
    assert workflow_id in row["after"]

    # While the first workflow runs, a second one is refused. The error names the first.
    refused = await operator.post(f"schedules/{NAME}/fire", None)
    assert refused.status_code == 409
    assert f"DELETE /api/v1/workflows/{workflow_id}" in refused.json()["detail"]

    changed = await operator.patch(f"schedules/{NAME}", {"enabled": False})
    assert (changed.status_code, changed.json()["enabled"]) == (200, False)
    assert (await operator.patch(f"schedules/{NAME}", {"enabled": True})).status_code == 200
    params = await operator.patch(f"schedules/{NAME}", {"params": {}})
    assert params.status_code == 400
    assert [problem["field"] for problem in params.json()["errors"]] == ["params"]
    assert (await operator.delete(f"schedules/{NAME}")).status_code == 409
