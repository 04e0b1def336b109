"""Tests which readers see the sensitive fields of a task through the API."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar.testing import AsyncTestClient

from services.api import app
from services.api.tasks import edits
from services.api.tasks.edits import Edit, Edits
from shared.contracts.catalogue import Catalogue
from shared.ledger.statement import Statement
from shared.settings import Settings
from shared.vault import Vault
from tests.integration.api.conftest import Client, Person, SignUp
from tests.platform import VAULT_KEYS
from tests.sample_tasks import INSTANT, PAY, Paid, Pay

CARD = "4242-7777-0000-1234"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with AsyncTestClient(app.build(settings, Catalogue([PAY, INSTANT]))) as client:
        yield client


async def test_only_its_owner_and_administrators_who_ask_for_it_read_a_sensitive_field(
    guest: Person, sign_up: SignUp, database: Any
) -> None:
    task_id = (await guest.post("tasks", {"name": "sample.pay", "params": {"card": CARD}})).json()["task_id"]
    vault = Vault.from_setting(VAULT_KEYS)
    sealed = vault.seal_result(PAY, Paid(receipt=CARD), task_id, guest.id)
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
            # Even an administrator sees the card number only when reading the single task, and
            # never in a list.
            assert await seen(person, unmask=True) == [CARD, *["[hidden]"] * 2, CARD, *["[hidden]"] * 2, CARD]
    rows = await database.fetch("SELECT * FROM audit WHERE action = 'secret.unmasked'")
    assert [(row["target"], row["after"]) for row in rows] == [(task_id, f'{{"owner": {guest.id}}}')] * 3
    assert CARD not in str(rows)


async def test_a_sensitive_parameter_cannot_be_searched(guest: Person) -> None:
    answer = await guest.get("tasks", **{"name": "sample.pay", "params.card": "4242"})
    assert [error["field"] for error in answer.json()["errors"]] == ["params.card"]


async def test_a_refused_sensitive_parameter_is_never_repeated(
    guest: Person, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await guest.post("tasks", {"name": "sample.pay", "params": {"card": [CARD]}})
    assert answer.status_code == 400
    assert CARD not in answer.text + caplog.text


async def test_a_ciphertext_that_was_moved_is_unreadable_and_hides_nothing_else(
    guest: Person, sign_up: SignUp, database: Any
) -> None:
    other = await sign_up()

    async def pay(person: Person, card: str) -> str:
        answer = await person.post("tasks", {"name": "sample.pay", "params": {"card": card}})
        return str(answer.json()["task_id"])

    stolen, kept = await pay(guest, CARD), await pay(other, "own")
    # First attack: someone who can write to Postgres, but has no encryption key, copies another
    # user's encrypted card into their own task.
    thief = await pay(other, "to be replaced")
    await database.execute(
        "UPDATE task SET params = (SELECT params FROM task WHERE id = $1::uuid) WHERE id = $2::uuid",
        stolen,
        thief,
    )
    # Second attack: someone changes the owner of the task that contains the card.
    given = await pay(guest, CARD)
    await database.execute("UPDATE task SET owner = $1 WHERE id = $2::uuid", other.id, given)

    answer = await other.get("tasks")
    assert answer.status_code == 200
    listed = {task["id"]: task["params"]["card"] for task in answer.json()["items"]}
    assert listed == {kept: "own", thief: "[unreadable]", given: "[unreadable]"}
    assert (await other.get(f"tasks/{thief}")).json()["params"] == {"card": "[unreadable]"}
    assert (await guest.get(f"tasks/{stolen}")).json()["params"] == {"card": CARD}


async def test_an_edit_keeps_a_hidden_field_and_loses_no_other_edit(
    guest: Person, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "sample.pay", "params": {"card": CARD}, "delay_s": 3600}
    task_id = (await guest.post("tasks", body)).json()["task_id"]
    path = f"tasks/{task_id}"
    hidden = {"params": {"card": "[hidden]"}}
    assert (await operator.patch(path, hidden)).status_code == 200
    assert (await guest.get(path)).json()["params"] == {"card": CARD}

    checked = Edits.checked

    async def overtaken(instance: Edits, *given: Any, **named: Any) -> Edit:
        """Check the edit, and then store another edit before this one is written."""
        edit = await checked(instance, *given, **named)
        other = Vault.from_setting(VAULT_KEYS).seal_params(PAY, Pay(card="other"), task_id, guest.id)
        await instance._database.run("UPDATE task SET params = {}", other.text)
        return edit

    monkeypatch.setattr(Edits, "checked", overtaken)
    late = await operator.patch(path, hidden)
    assert (late.status_code, late.json()["type"]) == (409, "urn:often:problem:params-changed")
    assert [problem["field"] for problem in late.json()["errors"]] == ["params.card"]
    assert (await guest.get(path)).json()["params"] == {"card": "other"}


@pytest.mark.parametrize("shown", ["[hidden]", "[unreadable]"])
async def test_placeholders_in_answers_are_never_stored(guest: Person, operator: Person, shown: str) -> None:
    refused = await guest.post("tasks", {"name": "sample.pay", "params": {"card": shown}})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "params.card")
    task = (await guest.post("tasks", {"name": "sample.pay", "params": {"card": CARD}, "delay_s": 60})).json()
    edited = await operator.patch(f"tasks/{task['task_id']}", {"params": {"card": "[unreadable]"}})
    assert (edited.status_code, edited.json()["errors"][0]["field"]) == (400, "params.card")


async def test_an_edit_of_a_task_that_was_removed_meanwhile_is_refused_as_such(
    guest: Person, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "sample.pay", "params": {"card": CARD}, "delay_s": 3600}
    path = f"tasks/{(await guest.post('tasks', body)).json()['task_id']}"
    nothing = Statement("SELECT params FROM task WHERE id = :id AND false")
    monkeypatch.setattr(edits, "STORED", nothing)
    assert (await operator.patch(path, {"params": {"card": "1"}})).status_code == 404
