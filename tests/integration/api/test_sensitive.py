"""Who reads sensitive fields of a task through the API."""

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
from tests.sample_tasks import INSTANT, PAY, Paid

CARD = "4242-7777-0000-1234"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with AsyncTestClient(app.build(settings, Catalogue([PAY, INSTANT]))) as client:
        yield client


async def test_only_its_owner_and_administrators_who_ask_for_it_read_a_sensitive_field(
    guest: Person, sign_up: SignUp, database: Any
) -> None:
    task_id = (await guest.post("tasks", {"name": "sample.pay", "params": {"card": CARD}})).json()["task_id"]
    sealed = Vault.from_setting(VAULT_KEYS).seal_result(PAY, Paid(receipt=CARD))
    await database.execute(
        "UPDATE task SET status = 'success', completed_at = now(), result = $1, send_at = NULL,"
        " sent_at = NULL",
        sealed.text,
    )
    assert CARD not in str(await database.fetchrow("SELECT * FROM task"))

    async def seen(reader: Person, **unmask: bool) -> list[Any]:
        task = (await reader.get(f"tasks/{task_id}", **unmask)).json()
        listed = (await reader.get("tasks")).json()["items"][0]
        summary = (await reader.get("tasks/stats/summary")).json()["recent_tasks"][0]
        result = (await reader.get(f"tasks/{task_id}/result", **unmask)).json()
        return [
            *(found["params"]["card"] for found in (task, listed, summary)),
            *(found["result"]["receipt"] for found in (task, listed, summary, result)),
        ]

    assert await seen(guest) == [CARD] * 7
    for role in ("administrator", "operator", "viewer"):
        person = await sign_up()
        await database.execute("UPDATE account SET role = $1 WHERE id = $2", role, person.id)
        assert await seen(person) == ["[hidden]"] * 7
        looked = await person.get(f"tasks/{task_id}", unmask=True)
        assert looked.status_code == (200 if role == "administrator" else 403)
        if role == "administrator":
            # Lists never show it.
            assert await seen(person, unmask=True) == [CARD, *["[hidden]"] * 2, CARD, *["[hidden]"] * 2, CARD]
    rows = await database.fetch("SELECT * FROM audit WHERE action = 'secret.unmasked'")
    assert [(row["target"], row["after"]) for row in rows] == [(task_id, f'{{"owner": {guest.id}}}')] * 3
    assert CARD not in str(rows)


async def test_a_refused_sensitive_parameter_is_not_repeated_to_anybody(
    guest: Person, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await guest.post("tasks", {"name": "sample.pay", "params": {"card": [CARD]}})
    assert answer.status_code == 400
    assert CARD not in answer.text + caplog.text
