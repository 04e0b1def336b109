"""Tests what requests to the protected routes reach: nothing that belongs to another account, and
the audit log.
"""

from typing import Any

from services.api.audit.actions import Unaudited
from services.api.identity.rights import Reach
from shared.identity.tables import Role
from tests.eventually import eventually
from tests.integration.api.conftest import Client
from tests.integration.api.rights.conftest import Settle
from tests.integration.api.rights.routes import RIGHTS, example_of, send


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
            await send(client, route, example_of(route, mine), mine.person.headers) if reads_a_list else None
        )
        theirs = await settle(Role.USER)
        await eventually(lambda: _is_marked(database))
        before = await _rows(database)
        example = example_of(route, theirs)
        answer = await send(client, route, example, mine.person.headers)

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
    example = example_of(route, theirs if reaches_all else mine)
    answer = await send(client, route, example, mine.person.headers)
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
