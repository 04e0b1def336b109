"""Tests of schedules that were stored before their task was renamed, under its former name."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar.testing import AsyncTestClient

from services.api import app
from shared.contracts.catalogue import Catalogue
from shared.settings import Settings
from shared.vault import Vault
from tests.integration.api.conftest import Client, Person, SignUp
from tests.platform import VAULT_KEYS
from tests.sample_tasks import PAY, Pay

CARD = "4242-7777-0000-1234"
FORMERLY = dataclasses.replace(PAY, name="sample.charge")
PATH = "schedules/cards.nightly"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    today = dataclasses.replace(PAY, former_names=(FORMERLY.name,))
    async with AsyncTestClient(app.build(settings, Catalogue([today]))) as client:
        yield client


@pytest.fixture
async def operator(operator: Person, database: Any) -> Person:
    """An operator who owns a schedule. It was stored under the former name of its task."""
    vault = Vault.from_setting(VAULT_KEYS)
    sealed = vault.seal_params(FORMERLY, Pay(card=CARD), "cards.nightly", operator.id)
    await database.execute(
        "INSERT INTO schedule (name, task_name, params, kind, expression, owner, next_fire_time)"
        " VALUES ('cards.nightly', $1, $2, 'interval', '1 h', $3, now() + interval '1 h')",
        FORMERLY.name,
        sealed.text,
        operator.id,
    )
    return operator


async def test_sensitive_parameters_under_a_former_name_are_shown_to_the_owner_only(
    operator: Person, sign_up: SignUp, database: Any
) -> None:
    other = await sign_up()
    await database.execute("UPDATE account SET role = 'operator' WHERE id = $1", other.id)
    assert (await operator.get(PATH)).json()["params"] == {"card": CARD}
    assert (await other.get(PATH)).json()["params"] == {"card": "[hidden]"}


async def test_a_schedule_under_a_former_name_is_switched_changed_and_fired(operator: Person) -> None:
    for change in ({"enabled": False}, {"enabled": True}, {"params": {"card": CARD[::-1]}}):
        answer = await operator.patch(PATH, change)
        assert answer.status_code == 200, answer.text
    assert answer.json()["params"] == {"card": CARD[::-1]}

    fired = await operator.post(f"{PATH}/fire", None)
    assert fired.status_code == 202, fired.text
    task = (await operator.get(f"tasks/{fired.json()['task_id']}")).json()
    assert (task["task_name"], task["params"]) == ("sample.pay", {"card": CARD[::-1]})


async def test_a_new_schedule_gets_the_present_name(operator: Person) -> None:
    body = {"name": "another", "params": {"card": CARD}, "kind": "interval", "expression": "1 h"}
    answer = await operator.post("schedules", body | {"task_name": FORMERLY.name})
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": "task_name", "rule": "must be one of sample.pay"}]
    assert (await operator.post("schedules", body | {"task_name": PAY.name})).status_code == 201
