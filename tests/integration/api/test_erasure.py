"""Tests of requests to export and to erase an account. tests/faults/hotel/test_erasure.py carries
out such requests.
"""

from typing import Any

import pytest

from tests.integration.api.conftest import Person, SignUp


async def erase(person: Person, password: str) -> Any:
    return await person.client.request(
        "DELETE", "/api/v1/auth/me", json={"password": password}, headers=person.headers
    )


async def make_key(person: Person, *scopes: str) -> dict[str, str]:
    answer = await person.post("keys", {"name": "a script", "scopes": scopes})
    return {"Authorization": f"Bearer {answer.json()['key']}"}


async def test_only_a_session_with_the_password_erases_its_account(guest: Person, database: Any) -> None:
    wrong = await erase(guest, "not it")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "password")
    key = await make_key(guest, "accounts:write", "accounts:read")
    for method, path in (("DELETE", "auth/me"), ("GET", "auth/me/export")):
        body = {"password": guest.password} if method == "DELETE" else None
        answer = await guest.client.request(method, f"/api/v1/{path}", json=body, headers=key)
        assert (answer.status_code, answer.json()["title"]) == (403, "Scope missing")
    assert (await guest.get("auth/me")).status_code == 200
    assert await database.fetchval("SELECT count(*) FROM task") == 0


async def test_a_requested_erasure_locks_the_account_permanently(
    guest: Person, administrator: Person, database: Any
) -> None:
    key = await make_key(guest, "accounts:read")

    accepted = await erase(guest, guest.password)

    assert accepted.status_code == 202
    assert (await guest.get("auth/me")).status_code == 401
    assert (await guest.client.get("/api/v1/auth/me", headers=key)).status_code == 401
    renewed = await guest.client.post("/api/v1/auth/refresh", json={"refresh_token": guest.refresh_token})
    assert renewed.status_code == 401
    credentials = {"email": guest.email, "password": guest.password}
    assert (await guest.client.post("/api/v1/auth/login", json=credentials)).status_code == 401
    back = await administrator.patch(f"accounts/{guest.id}", {"is_active": True})
    assert (back.status_code, back.json()["title"]) == (409, "Account being erased")
    row = await database.fetchrow("SELECT owner, name, params FROM task")
    assert (row["owner"], row["name"], row["params"]) == (
        None,
        "accounts.erase",
        f'{{"account_id": {guest.id}}}',
    )
    (entry,) = await database.fetch(
        "SELECT actor, target FROM audit WHERE action = 'account.erasure_requested'"
    )
    assert (entry["actor"], entry["target"]) == (guest.id, str(guest.id))
    # Once an erasure is requested, the API refuses new tasks for the account.
    greeting = {"name": "sample.greet", "params": {"user_id": guest.id}}
    assert (await administrator.post("tasks", greeting)).status_code == 422


async def test_a_repeated_request_leads_to_the_same_task_unless_that_has_failed(
    guest: Person, administrator: Person, database: Any
) -> None:
    async def ask() -> str:
        answer = await administrator.delete(f"accounts/{guest.id}")
        assert answer.status_code == 202
        return str(answer.json()["task_id"])

    first = await ask()
    assert await ask() == first
    await database.execute(
        "UPDATE task SET status = 'failure', completed_at = now(), send_at = NULL, sent_at = NULL"
    )
    assert await ask() != first
    assert (await administrator.delete("accounts/999999")).status_code == 404
    assert (await administrator.delete(f"accounts/{2**63}")).status_code == 404


@pytest.mark.parametrize("role", ["user", "viewer", "operator"])
async def test_only_administrators_erase_other_accounts(
    guest: Person, sign_up: SignUp, database: Any, role: str
) -> None:
    person = await sign_up()
    await database.execute("UPDATE account SET role = $1 WHERE id = $2", role, person.id)
    assert (await person.delete(f"accounts/{guest.id}")).status_code == 403


async def test_the_last_administrator_stays(administrator: Person, database: Any) -> None:
    assert (await erase(administrator, administrator.password)).json()["title"] == "Last administrator"
    assert (await administrator.delete(f"accounts/{administrator.id}")).status_code == 409
    assert await database.fetchval("SELECT is_active AND erasure_task IS NULL FROM account")


async def test_an_export_contains_the_accounts_data_and_tasks_that_name_it(
    guest: Person, administrator: Person, sign_up: SignUp
) -> None:
    stranger = await sign_up()
    await make_key(guest, "tasks:read")
    for person, text in ((guest, "mine"), (administrator, "for me"), (stranger, "of a stranger")):
        whom = stranger if person is stranger else guest
        body = {"name": "sample.greet", "params": {"user_id": whom.id, "text": text}}
        assert (await person.post("tasks", body)).status_code == 202

    answer = await guest.get("auth/me/export")

    assert answer.headers["content-disposition"] == f'attachment; filename="account-{guest.id}.json"'
    document = answer.json()
    assert document["account"]["email"] == guest.email
    assert [task["params"]["text"] for task in document["tasks"]] == ["mine", "for me"]
    (session,), (key,) = document["session"], document["api_key"]
    assert (session["user"], key["name"], key["scopes"]) == (guest.id, "a script", ["tasks:read"])
    assert "secret_hash" not in key
    assert "of a stranger" not in answer.text


async def test_simultaneous_exports_are_bounded(guest: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.api.personal.exports.MAX_EXPORTS", 0)
    refused = await guest.get("auth/me/export")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    monkeypatch.setattr("services.api.personal.exports.MAX_EXPORTS", 1)
    # An export frees its slot when it ends. So three in a row succeed, although only one may run at
    # a time.
    for _ in range(3):
        assert (await guest.get("auth/me/export")).status_code == 200
