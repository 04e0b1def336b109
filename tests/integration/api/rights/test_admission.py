"""Tests every route with every role and every kind of credentials: who is admitted."""

import hashlib
import secrets
from typing import Any

import pytest

from services.api.identity.api_keys import PREFIX
from services.api.identity.rights import Reach, Scope
from shared.identity.tables import Role
from tests.integration.api.conftest import Client, Person
from tests.integration.api.rights.conftest import Settle
from tests.integration.api.rights.routes import PUBLIC, RIGHTS, example_of, meaning, send


async def test_routes_admit_the_roles_in_the_table(routes: list[str], client: Client, settle: Settle) -> None:
    for route in routes:
        await _check_admission(route, client, settle)


async def _check_admission(route: str, client: Client, settle: Settle) -> None:
    right = RIGHTS.get(route)
    assert (right is None) == (route in PUBLIC), f"{route} needs one entry, in RIGHTS or in PUBLIC"
    people = {role: await settle(role) for role in Role}
    examples = {role.value: example_of(route, mine) for role, mine in people.items()}
    answers = {
        role.value: await send(client, route, examples[role.value], mine.person.headers)
        for role, mine in people.items()
    }
    examples["nobody"] = example_of(route, await settle(Role.USER))
    answers["nobody"] = await send(client, route, examples["nobody"], {})

    expected = {
        role.value: "not allowed" if right and right.reach[role] is Reach.NONE else "let in" for role in Role
    }
    expected["nobody"] = "who is it?" if right else "let in"
    found = {name: meaning(answer.status_code, examples[name]) for name, answer in answers.items()}
    assert (route, found) == (route, expected)


@pytest.mark.long
async def test_each_route_accepts_the_credentials_in_the_table(
    client: Client, settle: Settle, database: Any
) -> None:
    """Test every protected route with every role and every kind of credentials, except open
    sessions, which the test above covers.
    """
    found: dict[tuple[str, str, str], str] = {}
    expected: dict[tuple[str, str, str], str] = {}
    for route, right in RIGHTS.items():
        for role in Role:
            mine = await settle(role)
            example = example_of(route, mine)
            allowed = "let in" if right.reach[role] is not Reach.NONE and right.scope else "not allowed"
            for kind, headers in (await _credentials(mine.person, right.scope, database)).items():
                answer = await send(client, route, example, headers)
                found[route, role, kind] = meaning(answer.status_code, example)
                expected[route, role, kind] = {"key": allowed, "key without the scope": "not allowed"}.get(
                    kind, "who is it?"
                )
            await database.execute('UPDATE session SET revoked_at = now() WHERE "user" = $1', mine.person.id)
            answer = await send(client, route, example, mine.person.headers)
            found[route, role, "ended session"] = meaning(answer.status_code, example)
            expected[route, role, "ended session"] = "who is it?"

    assert len(found) == 7 * len(Role) * len(RIGHTS)
    assert {each: said for each, said in found.items() if said != expected[each]} == {}


async def _credentials(person: Person, scope: Scope | None, database: Any) -> dict[str, dict[str, str]]:
    """Request headers for each kind of credentials, by name.

    The kind that may change something comes last.
    """
    others = [each for each in Scope if each is not scope]
    token = person.headers["Authorization"]
    return {
        "none": {},
        "forged token": {"Authorization": f"{token[:-9]}{'A' * 9}"},
        "revoked key": await _key(person, database, list(Scope), revoked_at="now()"),
        "expired key": await _key(person, database, list(Scope), expires_at="now()"),
        "key without the scope": await _key(person, database, others),
        "key": await _key(person, database, [scope] if scope else list(Scope)),
    }


async def _key(
    person: Person,
    database: Any,
    scopes: list[Scope],
    *,
    revoked_at: str = "NULL",
    expires_at: str = "'infinity'",
) -> dict[str, str]:
    """Create an API key of this person.

    Returns request headers with it. Its scopes may exceed those that the API would grant to the
    person's role.
    """
    secret = secrets.token_urlsafe(32)
    key_id = await database.fetchval(
        'INSERT INTO api_key ("user", name, secret_hash, scopes, expires_at, revoked_at)'
        f" VALUES ($1, 'a robot', $2, $3, {expires_at}, {revoked_at}) RETURNING id",
        *(person.id, hashlib.sha256(secret.encode()).digest(), [scope.value for scope in scopes]),
    )
    return {"Authorization": f"Bearer {PREFIX}{key_id.hex}_{secret}"}
