"""Tests every route with every role: who is admitted, and that no caller reaches what belongs to
another account.
"""

import dataclasses
import functools
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from services.api import app
from services.api.applications import rights_of, routes_of
from services.api.audit.actions import Unaudited
from services.api.bulk.schemas import BulkBody
from services.api.bulk.tokens import Previewed, Tokens
from services.api.identity import rights
from services.api.identity.api_keys import PREFIX
from services.api.identity.rights import Reach, Scope
from shared.identity.tables import Role
from shared.ledger.ids import LAST_ID, uuid7
from shared.ledger.protocol import PROTOCOL
from shared.settings import Settings
from tests.eventually import eventually
from tests.installed import HOTEL, INSTALLED, NAMES
from tests.integration.api.conftest import CHEAP, Client, Person
from tests.integration.api.examples import EXAMPLES as PLATFORM_EXAMPLES
from tests.integration.api.examples import Belongings, Example
from tests.platform import VAULT_KEYS

if HOTEL:
    from tests.integration.api.hotel import examples as hotel

Settle = Callable[[Role], Awaitable[Belongings]]

_TABLE = rights_of(routes_of(INSTALLED))
RIGHTS = {route: right for route, right in _TABLE.entries.items() if " /console" not in route}
PUBLIC = _TABLE.public
EXAMPLES = PLATFORM_EXAMPLES | (hotel.EXAMPLES if HOTEL else {})
#: Number of routes that are tested with one API instance. Building an instance takes as long as
#: testing three routes.
BATCH = 8
PASSWORD = secrets.token_hex()
HASH = CHEAP().hash(PASSWORD)
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "routes" not in metafunc.fixturenames:
        return
    routes = _routes()
    if "protected" in metafunc.function.__name__:
        routes = [route for route in routes if route not in PUBLIC]
    batches = [routes[start : start + BATCH] for start in range(0, len(routes), BATCH)]
    metafunc.parametrize("routes", batches, ids=[f"from {batch[0]}" for batch in batches])


@functools.cache
def _routes() -> list[str]:
    nowhere = Settings(
        database_url="postgres://x",
        redis_url="redis://x",
        secret_key=secrets.token_hex(),
        vault_keys=VAULT_KEYS,
        applications=NAMES,
    )
    built = app.build(nowhere)
    return sorted({route for route, _ in rights.routes(built) if " /console" not in route})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with rate limits that no test reaches."""
    many = "1000000/minute"
    return dataclasses.replace(settings, rate_limit_sign_in=many, rate_limit_address=many)


@pytest.fixture
async def settle(client: Client, database: Any, settings: Settings) -> Settle:
    """A function that creates a person who owns one of each thing.

    Account ids are long numbers, so that a search for one in a text finds nothing else.
    """
    await database.execute("SELECT setval('account_id_seq', $1)", 10**15 + secrets.randbelow(10**15))
    # The last administrator cannot be erased. With a second one, the person can be erased even as
    # an administrator.
    await database.execute(
        "INSERT INTO account (email, password_hash, role)"
        " VALUES ('spare@often.example', '-', 'administrator')"
    )

    async def settle(role: Role) -> Belongings:
        email = f"{secrets.token_hex(8)}@often.example"
        account_id = await database.fetchval(
            "INSERT INTO account (email, password_hash) VALUES ($1, $2) RETURNING id", email, HASH
        )
        login = {"email": email, "password": PASSWORD}
        tokens = (await client.post("/api/v1/auth/login", json=login)).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        person = Person(account_id, email, PASSWORD, tokens["refresh_token"], headers, client)
        belongings = await _belongings(person, database, Tokens(settings.secret_key))
        # The role is set last, because not every role may create all of these things through the
        # API.
        await database.execute("UPDATE account SET role = $1 WHERE id = $2", role, account_id)
        return belongings

    return settle


async def _belongings(person: Person, database: Any, tokens: Tokens) -> Belongings:
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


MAKE_ERROR_GROUP = """
    INSERT INTO error_group (fingerprint, name, kind, sample_task, first_at, last_at, first_release,
                             last_release)
    VALUES ($1, 'sample.fail', 'bug', uuidv7(), now(), now(), '1', '1') RETURNING fingerprint
"""


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


def _example(route: str, of: Belongings) -> Example:
    needs_one = "{" in route or not route.startswith(("GET ", "HEAD "))
    assert route in EXAMPLES or not needs_one, f"{route} needs an entry in examples.py"
    return EXAMPLES[route](of) if route in EXAMPLES else Example()


async def _send(client: Client, route: str, example: Example, headers: dict[str, str]) -> Any:
    method, path = route.split(" ")
    if path.endswith("/events"):  # an event stream never ends
        method = "HEAD"
    body = {} if example.body is None else {"json": example.body}
    # Some routes require an idempotency key, and the others ignore it. A fixed request id makes
    # answers comparable.
    headers = {**headers, "Idempotency-Key": secrets.token_hex(), "X-Request-Id": "rights"}
    return await client.request(method, path.format(**example.ids), headers=headers, **body)


def _meaning(status: int, example: Example) -> str:
    let_in = status < 400 or status == example.meets
    return {401: "who is it?", 403: "not allowed"}.get(status, "let in" if let_in else str(status))


async def test_routes_admit_the_roles_in_the_table(routes: list[str], client: Client, settle: Settle) -> None:
    for route in routes:
        await _check_admission(route, client, settle)


async def _check_admission(route: str, client: Client, settle: Settle) -> None:
    right = RIGHTS.get(route)
    assert (right is None) == (route in PUBLIC), f"{route} needs one entry, in RIGHTS or in PUBLIC"
    people = {role: await settle(role) for role in Role}
    examples = {role.value: _example(route, mine) for role, mine in people.items()}
    answers = {
        role.value: await _send(client, route, examples[role.value], mine.person.headers)
        for role, mine in people.items()
    }
    examples["nobody"] = _example(route, await settle(Role.USER))
    answers["nobody"] = await _send(client, route, examples["nobody"], {})

    expected = {
        role.value: "not allowed" if right and right.reach[role] is Reach.NONE else "let in" for role in Role
    }
    expected["nobody"] = "who is it?" if right else "let in"
    found = {name: _meaning(answer.status_code, examples[name]) for name, answer in answers.items()}
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
            example = _example(route, mine)
            allowed = "let in" if right.reach[role] is not Reach.NONE and right.scope else "not allowed"
            for kind, headers in (await _credentials(mine.person, right.scope, database)).items():
                answer = await _send(client, route, example, headers)
                found[route, role, kind] = _meaning(answer.status_code, example)
                expected[route, role, kind] = {"key": allowed, "key without the scope": "not allowed"}.get(
                    kind, "who is it?"
                )
            await database.execute('UPDATE session SET revoked_at = now() WHERE "user" = $1', mine.person.id)
            answer = await _send(client, route, example, mine.person.headers)
            found[route, role, "ended session"] = _meaning(answer.status_code, example)
            expected[route, role, "ended session"] = "who is it?"

    assert len(found) == 7 * len(Role) * len(RIGHTS)
    assert {each: meaning for each, meaning in found.items() if meaning != expected[each]} == {}


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


async def test_protected_routes_reach_nothing_of_other_accounts(
    routes: list[str], client: Client, settle: Settle, database: Any
) -> None:
    for route in routes:
        await _check_reach(route, client, settle, database)


async def _check_reach(route: str, client: Client, settle: Settle, database: Any) -> None:
    limited = [role for role in Role if RIGHTS[route].reach[role] is not Reach.ALL]
    for role in limited:
        mine = await settle(role)
        reads_a_list = route.startswith("GET") and "{" not in route
        alone = (
            await _send(client, route, _example(route, mine), mine.person.headers) if reads_a_list else None
        )
        theirs = await settle(Role.USER)
        await eventually(lambda: _is_marked(database))
        before = await _rows(database)
        example = _example(route, theirs)
        answer = await _send(client, route, example, mine.person.headers)

        if example.ids:
            expected = 403 if RIGHTS[route].reach[role] is Reach.NONE else 404
            assert (route, role, answer.status_code) == (route, role, expected)
        assert (route, answer.status_code < 500) == (route, True)
        assert alone is None or alone.text == answer.text, route
        told = answer.text
        for sent in example.ids.values():
            told = told.replace(sent, "")
        for secret in (str(theirs.person.id), theirs.person.email, theirs.task_id, theirs.key_id):
            assert secret not in told, route
        lost = {row for row in before - await _rows(database) if str(mine.person.id) not in row}
        assert (route, role, lost) == (route, role, set())


async def test_protected_routes_leave_the_actions_in_the_table_in_the_audit_log(
    routes: list[str], client: Client, settle: Settle, database: Any
) -> None:
    """Send each request as an administrator, about another account where the route allows that, and
    check the audit log.
    """
    for route in routes:
        await _check_audit(route, client, settle, database)


async def _check_audit(route: str, client: Client, settle: Settle, database: Any) -> None:
    mine, theirs = await settle(Role.ADMINISTRATOR), await settle(Role.USER)
    reaches_all = RIGHTS[route].reach[Role.ADMINISTRATOR] is Reach.ALL
    await database.execute("TRUNCATE audit")
    example = _example(route, theirs if reaches_all else mine)
    answer = await _send(client, route, example, mine.person.headers)
    assert answer.status_code < 400 or answer.status_code == example.meets, f"{route}: {answer.text}"

    rows = await database.fetch("SELECT * FROM audit")
    leaves = RIGHTS[route].leaves
    if isinstance(leaves, Unaudited) or route.startswith("GET "):
        assert (route, rows) == (route, [])
        return
    assert (route, len(rows)) == (route, 1)
    (row,) = rows
    assert row["action"] in leaves, route
    assert (row["actor"], row["credential"]) == (mine.person.id, "session")
    assert row["request_id"] == answer.headers["X-Request-Id"]
    assert row["target"] is not None
    assert row["network"] is not None
    for person in (mine.person, theirs.person):
        for secret in (person.email, person.password, person.refresh_token):
            assert secret not in str(row)
    assert answer.status_code == 204 or answer.json().get("key", "no key") not in str(row)


async def _is_marked(database: Any) -> bool:
    """Whether the API has marked as sent all ids that earlier requests pushed to Redis.

    It marks them in the background.
    """
    return bool(
        await database.fetchval(
            "SELECT NOT EXISTS (SELECT FROM task WHERE send_at < now() + interval '1 min')"
        )
    )


async def _rows(database: Any) -> set[str]:
    """All rows of all tables as text.

    Tables of statistics are left out, because they change all the time.
    """
    tables = await database.fetch(
        "SELECT format('%I', relname) AS name FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
        " AND relname NOT IN ('task_minute', 'task_hour', 'error_group', 'error_hour')"
    )
    found = set()
    for table in tables:
        rows = await database.fetch(f"SELECT t::text AS row FROM {table['name']} AS t")
        found |= {f"{table['name']}: {row['row']}" for row in rows}
    return found
