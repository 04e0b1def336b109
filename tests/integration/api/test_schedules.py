"""Tests of schedules over HTTP: creating, changing, firing and previewing them."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.api_process import Api
from tests.eventually import eventually
from tests.integration.api.conftest import Client, Person
from tests.platform import Platform

NIGHTLY: dict[str, Any] = {
    "name": "sample.nightly",
    "task_name": "system.health_check",
    "params": {},
    "kind": "cron",
    "expression": "30 2 * * *",
    "time_zone": "Europe/Berlin",
}
#: Name of a schedule that a contract of the platform declares.
HOURLY = "maintenance.cleanup_expired_refresh_tokens.hourly"


@pytest.fixture
async def declared(client: Client, database: Any) -> None:
    """Store the schedule that a contract declares, as the leading scheduler does."""
    await database.execute(
        "INSERT INTO schedule (name, source, task_name, params, kind, expression, declared, next_fire_time)"
        " VALUES ($1, 'contract', 'maintenance.cleanup_expired_refresh_tokens', '{}', 'interval', '1 h', 'x',"
        " now() + interval '1 h')",
        HOURLY,
    )


async def make(person: Person, **changed: Any) -> dict[str, Any]:
    answer = await person.post("schedules", NIGHTLY | changed)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def broken(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400, answer.text
    return {problem["field"]: problem["rule"] for problem in answer.json()["errors"]}


async def test_a_new_schedule_shows_its_next_times_and_its_owner(operator: Person) -> None:
    made = await make(operator)
    assert (made["source"], made["owner"], made["enabled"]) == ("api", operator.id, True)
    assert (made["misfire"], made["overlap"], made["jitter_s"], made["catch_up_s"]) == (
        "once",
        "allow",
        0,
        3600,
    )
    times = [moment(time) for time in made["next_fire_times"]]
    assert len(times) == 3
    assert times == sorted(times)
    assert times[0] > datetime.now(UTC)
    assert {time.astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") for time in times} == {"02:30"}
    assert (await operator.get("schedules/sample.nightly")).json() == made


async def test_a_name_is_taken_once(operator: Person) -> None:
    await make(operator)
    answer = await operator.post("schedules", NIGHTLY | {"expression": "0 5 * * *"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:often:problem:schedule-exists")
    assert (await operator.get("schedules/sample.nightly")).json()["expression"] == "30 2 * * *"


@pytest.mark.parametrize(
    ("changed", "field", "rule"),
    [
        ({"name": "Sample Nightly"}, "name", "lower case words"),
        ({"name": "preview"}, "name", "must not be preview"),
        ({"task_name": "no.such"}, "task_name", "system.health_check"),
        ({"params": {"user": 1}}, "params.user", "is not a known field"),
        ({"kind": "daily"}, "kind", "one of cron, interval, once"),
        ({"expression": "30 25 * * *"}, "expression", "hour '25' must be from 0 to 23"),
        ({"expression": "0 0 30 2 *"}, "expression", "never fires"),
        ({"kind": "interval", "expression": "90"}, "expression", "'90 s'"),
        (
            {"kind": "once", "expression": "2020-01-01T00:00:00Z"},
            "expression",
            "must be a time in the future",
        ),
        ({"time_zone": "Europe/Berlim"}, "time_zone", "did you mean Europe/Berlin"),
        ({"time_zone": "\x00"}, "time_zone", "IANA"),
        ({"jitter_s": 86_400}, "jitter_s", "less than the 86400 seconds"),
        ({"misfire": "never"}, "misfire", "one of skip, once, all"),
        ({"misfire_grace_s": 1}, "misfire_grace_s", ">= 5"),
        ({"overlap": "queue"}, "overlap", "one of allow, skip"),
        ({"catch_up_s": 1}, "catch_up_s", ">= 10"),
        ({"priority": 10}, "priority", "<= 9"),
        ({"colour": "red"}, "colour", "is not a known field"),
    ],
)
async def test_an_invalid_schedule_is_refused_by_field_and_nothing_is_stored(
    operator: Person, changed: dict[str, Any], field: str, rule: str
) -> None:
    found = broken(await operator.post("schedules", NIGHTLY | changed))
    assert list(found) == [field]
    assert rule in found[field]
    assert (await operator.get("schedules")).json()["items"] == []


async def test_the_list_is_filtered_and_comes_in_pages(operator: Person, declared: None) -> None:
    for number in range(3):
        await make(operator, name=f"sample.{number}", enabled=number != 1)
    first = (await operator.get("schedules", limit=2)).json()
    second = (await operator.get("schedules", limit=2, cursor=first["next_cursor"])).json()
    names = [item["name"] for page in (first, second) for item in page["items"]]
    assert names == sorted(names)
    assert len(names) == 4
    assert second["next_cursor"] is None

    async def listed(**filters: Any) -> list[str]:
        return [item["name"] for item in (await operator.get("schedules", **filters)).json()["items"]]

    assert await listed(enabled="false") == ["sample.1"]
    assert await listed(task_name="system.health_check") == ["sample.0", "sample.1", "sample.2"]
    assert await listed(task_name="system.health_check", enabled="true") == ["sample.0", "sample.2"]
    assert list(broken(await operator.get("schedules", owner=1))) == ["owner"]
    assert list(broken(await operator.get("schedules", cursor="A B"))) == ["cursor"]


async def test_times_while_a_schedule_is_off_are_not_caught_up(operator: Person, database: Any) -> None:
    await make(operator, kind="interval", expression="1 min", misfire="all")
    off = (await operator.patch("schedules/sample.nightly", {"enabled": False})).json()
    assert (off["enabled"], off["paused_by"], off["next_fire_times"]) == (False, operator.id, [])
    await database.execute("UPDATE schedule SET starts_at = now() - interval '1 day 30 seconds'")
    on = (await operator.patch("schedules/sample.nightly", {"enabled": True})).json()
    assert (on["enabled"], on["paused_at"], on["paused_by"], on["revision"]) == (True, None, None, 2)
    ahead = moment(on["next_fire_times"][0]) - datetime.now(UTC)
    assert timedelta(0) < ahead <= timedelta(minutes=1)


async def test_a_new_timing_is_checked_and_counts_from_now(operator: Person, database: Any) -> None:
    await make(operator)
    found = broken(await operator.patch("schedules/sample.nightly", {"kind": "interval"}))
    assert "'90 s'" in found["expression"]
    found = broken(await operator.patch("schedules/sample.nightly", {"jitter_s": 90_000}))
    assert "less than" in found["jitter_s"]
    assert list(broken(await operator.patch("schedules/sample.nightly", {}))) == [""]
    assert list(broken(await operator.patch("schedules/sample.nightly", {"name": "other"}))) == ["name"]

    await database.execute("UPDATE schedule SET starts_at = now() - interval '1 day'")
    before = datetime.now(UTC).replace(microsecond=0)
    changed = await operator.patch(
        "schedules/sample.nightly", {"kind": "interval", "expression": "2 h", "priority": 9}
    )
    assert changed.status_code == 200
    assert changed.json()["priority"] == 9
    starts = moment(changed.json()["starts_at"])
    assert before <= starts <= datetime.now(UTC)
    assert moment(changed.json()["next_fire_times"][0]) == starts + timedelta(hours=2)
    # A change of anything but the timing keeps the next fire times.
    after = (await operator.patch("schedules/sample.nightly", {"overlap": "skip"})).json()
    assert after["next_fire_times"] == changed.json()["next_fire_times"]


async def test_a_moment_that_has_passed_cannot_be_switched_on(operator: Person, database: Any) -> None:
    await make(operator, kind="once", expression="2099-01-01T00:00:00Z", enabled=False)
    await database.execute("UPDATE schedule SET expression = '2020-01-01T00:00:00Z'")
    found = broken(await operator.patch("schedules/sample.nightly", {"enabled": True}))
    assert "give a new expression" in found["enabled"]


async def test_a_removed_schedule_is_gone(operator: Person) -> None:
    await make(operator)
    assert (await operator.delete("schedules/sample.nightly")).status_code == 204
    for answer in (
        await operator.get("schedules/sample.nightly"),
        await operator.delete("schedules/sample.nightly"),
        await operator.patch("schedules/sample.nightly", {"enabled": True}),
        await operator.post("schedules/sample.nightly/fire", None),
        await operator.get("schedules/sample.nightly/firings"),
        await operator.get("schedules/%00"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:often:problem:schedule-not-found")


async def test_a_contracts_schedule_can_be_switched_off_and_changed_but_not_removed(
    operator: Person, declared: None
) -> None:
    answer = await operator.delete(f"schedules/{HOURLY}")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:often:problem:schedule-declared")
    assert "enabled false" in answer.json()["detail"]

    off = (await operator.patch(f"schedules/{HOURLY}", {"enabled": False})).json()
    assert (off["source"], off["enabled"], off["overridden_by"]) == ("contract", False, None)
    changed = (await operator.patch(f"schedules/{HOURLY}", {"expression": "2 h"})).json()
    assert (changed["expression"], changed["overridden_by"], changed["enabled"]) == (
        "2 h",
        operator.id,
        False,
    )


async def test_firing_by_hand_submits_at_once_and_is_recorded(
    operator: Person, administrator: Person
) -> None:
    made = await make(operator, enabled=False, priority=2, jitter_s=3_600)
    answer = await administrator.post("schedules/sample.nightly/fire", None)
    assert answer.status_code == 202
    task = (await operator.get(f"tasks/{answer.json()['task_id']}")).json()
    assert (task["task_name"], task["owner"], task["priority"]) == ("system.health_check", operator.id, 2)
    (firing,) = (await operator.get("schedules/sample.nightly/firings")).json()["items"]
    assert (firing["task_id"], firing["outcome"]) == (task["id"], "submitted")
    assert firing["detail"] == f"fired by account {administrator.id}"
    assert moment(firing["fire_time"]).microsecond == 0
    after = (await operator.get("schedules/sample.nightly")).json()
    assert after["last_fire_time"] == firing["fire_time"]
    assert (after["enabled"], after["next_fire_times"]) == (False, made["next_fire_times"])


async def test_firing_by_hand_waits_for_the_earlier_task_where_two_must_not_run_at_once(
    operator: Person, database: Any
) -> None:
    await make(operator, overlap="skip")
    first = (await operator.post("schedules/sample.nightly/fire", None)).json()["task_id"]
    answer = await operator.post("schedules/sample.nightly/fire", None)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:often:problem:schedule-still-running")
    assert first in answer.json()["detail"]
    await operator.delete(f"tasks/{first}")

    async def fired() -> bool:
        return bool((await operator.post("schedules/sample.nightly/fire", None)).status_code == 202)

    await eventually(fired)
    assert await database.fetchval("SELECT count(*) FROM task WHERE schedule = 'sample.nightly'") == 2


async def test_two_firings_of_one_second_are_one(operator: Person, database: Any) -> None:
    await make(operator)
    answers = [await operator.post("schedules/sample.nightly/fire", None) for _ in range(12)]
    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code == 409]
    assert len(accepted) + len(refused) == 12
    assert refused
    assert {answer.json()["type"] for answer in refused} == {"urn:often:problem:schedule-just-fired"}
    assert await database.fetchval("SELECT count(*) FROM task") == len(accepted)


async def test_parameters_that_no_longer_fit_are_reported_when_fired_by_hand(
    operator: Person, database: Any
) -> None:
    await make(operator)
    await database.execute("""UPDATE schedule SET params = '{"old": 1}'""")
    assert list(broken(await operator.post("schedules/sample.nightly/fire", None))) == ["params.old"]
    await database.execute("UPDATE schedule SET task_name = 'gone.task'")
    assert list(broken(await operator.post("schedules/sample.nightly/fire", None))) == ["task_name"]
    assert await database.fetchval("SELECT count(*) FROM schedule_firing") == 0


async def test_firings_come_newest_first_in_pages(operator: Person, database: Any) -> None:
    await make(operator)
    await database.execute(
        "INSERT INTO schedule_firing (schedule, fire_time, outcome, detail)"
        " SELECT 'sample.nightly', timestamptz '2026-11-01' + n * interval '1 d', 'failed', 'n' || n"
        " FROM generate_series(1, 5) AS n"
    )
    seen, cursor = list[str](), None
    while True:
        page = (
            await operator.get(
                "schedules/sample.nightly/firings", limit=2, **({"cursor": cursor} if cursor else {})
            )
        ).json()
        seen += [item["detail"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["n5", "n4", "n3", "n2", "n1"]
    for wrong in ("x", "_" * 11):
        answer = await operator.get("schedules/sample.nightly/firings", cursor=wrong)
        assert list(broken(answer)) == ["cursor"]


async def test_a_schedule_reaches_only_accounts_that_its_operator_may_reach(
    operator: Person, administrator: Person, guest: Person
) -> None:
    to_guest = {"task_name": "sample.greet", "params": {"user_id": guest.id}}
    answer = await operator.post("schedules", NIGHTLY | to_guest)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (403, "params.user_id")
    await make(administrator, **to_guest)
    assert (await operator.post("schedules/sample.nightly/fire", None)).status_code == 403
    own = {"params": {"user_id": operator.id}}
    assert (await operator.patch("schedules/sample.nightly", own)).status_code == 200
    back = await operator.patch("schedules/sample.nightly", {"params": to_guest["params"]})
    assert back.status_code == 403
    nobody = await administrator.post(
        "schedules", NIGHTLY | to_guest | {"name": "other", "params": {"user_id": 10**9}}
    )
    assert nobody.status_code == 422


async def test_a_preview_shows_utc_and_local_times_over_the_change_of_the_clock(operator: Person) -> None:
    answer = await operator.post(
        "schedules/preview",
        {"kind": "cron", "expression": "30 2 29-30 3 *", "time_zone": "Europe/Berlin", "count": 50},
    )
    assert answer.status_code == 200
    times = answer.json()["times"]
    # The expression matches two days a year, and a preview covers five years, so about ten times
    # are expected.
    assert len(times) in (10, 11, 12)
    for time in times:
        assert moment(time["utc"]) == moment(time["local"])
        assert time["utc"].endswith("Z")
        assert time["local"][11:16] == "02:30" or moment(time["local"]).strftime("%H:%M") == "03:00"
    assert {time["local"][-6:] for time in times} == {"+01:00", "+02:00"}
    far = {"kind": "once", "expression": "9999-12-31T23:59:59Z", "time_zone": "Pacific/Kiritimati"}
    assert list(broken(await operator.post("schedules/preview", far))) == ["expression"]
    last = {**far, "expression": "9997-12-31T23:59:59Z"}
    assert (await operator.post("schedules/preview", last)).status_code == 200
    assert list(broken(await operator.post("schedules/preview", {"kind": "once", "expression": "soon"}))) == [
        "expression"
    ]
    too_many = {"kind": "interval", "expression": "1 h", "count": 51}
    assert list(broken(await operator.post("schedules/preview", too_many))) == ["count"]


async def test_a_schedule_made_over_http_is_fired_by_the_scheduler(platform: Platform) -> None:
    api = Api(platform)
    await api.start()
    await platform.start_scheduler()
    await platform.start_worker()
    somebody = {"email": "olga@often.example", "password": secrets.token_hex(8)}
    async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", trust_env=False) as http:
        owner = (await http.post("/auth/register", json=somebody)).json()["id"]
        await platform.rows("UPDATE account SET role = 'operator' WHERE id = {}", owner)
        tokens = (await http.post("/auth/login", json=somebody)).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        body = NIGHTLY | {"kind": "interval", "expression": "1 s"}
        assert (await http.post("/schedules", json=body, headers=headers)).status_code == 201

    async def ended() -> list[dict[str, Any]]:
        return await platform.rows(
            "SELECT * FROM task WHERE schedule = 'sample.nightly' AND status = 'success'"
        )

    (task, *_) = await eventually(ended, 60)
    assert (task["owner"], task["name"]) == (owner, "system.health_check")
