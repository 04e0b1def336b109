"""Tests of push messages from real workers to browsers behind a simulated push service."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from local import outside
from services.worker.hotel.tasks.notifications import prune_log
from shared.hotel import inbox
from shared.hotel.contracts.notifications import SEND_BULK, SEND_PUSH, PruneLog, SendBulk, SendPush
from shared.ledger.ids import uuid7
from shared.testing import run_inline
from tests.eventually import eventually
from tests.platform import VAPID_PRIVATE_KEY, Platform
from tests.sandbox import Sandbox

#: Seconds until a rescue must have happened. The design promises a third of that.
RESCUE_LIMIT_S = 45


def settings(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """Settings that make a worker use the sandbox (the simulated outside services)."""
    return outside.stand_ins({}, sandbox.url, VAPID_PRIVATE_KEY).environment | more


async def account(platform: Platform, name: str = "asha") -> int:
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash) VALUES ({}, '-') RETURNING id",
        f"{name}@often-hotels.example",
    )
    return int(row["id"])


async def subscribe(platform: Platform, sandbox: Sandbox, user: int) -> tuple[int, str]:
    """Subscribe a new browser to push messages.

    Returns the subscription's id, and the last part of its endpoint's address.
    """
    subscribed = await sandbox.subscribe()
    (row,) = await platform.rows(
        'INSERT INTO push_subscription ("user", endpoint, p256dh, auth) VALUES ({}, {}, {}, {}) RETURNING id',
        *(user, subscribed["endpoint"], subscribed["keys"]["p256dh"], subscribed["keys"]["auth"]),
    )
    return int(row["id"]), subscribed["endpoint"].rpartition("/")[2]


def push(user: int, **more: Any) -> SendPush:
    return SendPush(user_id=user, title="₹ 900 in Goa", message="Sea View is cheaper", **more)


async def receipts(sandbox: Sandbox, browser: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await sandbox.books())["push"]["subscriptions"][browser]["receipts"]
    return found


async def sendings(platform: Platform, task_id: UUID) -> dict[str, str]:
    """Status of each push message that a task sent, by its target."""
    rows = await platform.rows(
        "SELECT target, status FROM notification_log WHERE task = {} AND channel = 'push'", task_id
    )
    return {row["target"]: row["status"] for row in rows}


async def test_a_push_reaches_every_browser_of_the_user(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    browsers = [await subscribe(platform, sandbox, user) for _ in range(2)]
    _, other = await subscribe(platform, sandbox, await account(platform, "ravi"))

    (task_id,) = await platform.submit(SEND_PUSH, push(user, data={"hotel": 7}, urgency="high", ttl_s=90))
    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    result = json.loads(row["result"])
    assert (result["sent_to"], result["removed"], result["message_status"]) == (2, 0, "sent")
    assert (row["progress_current"], row["progress_total"]) == (2, 2)
    said = {"title": "₹ 900 in Goa", "body": "Sea View is cheaper", "data": {"hotel": 7}, "tag": str(task_id)}
    for _, browser in browsers:
        assert await receipts(sandbox, browser) == [
            {"topic": task_id.hex, "urgency": "high", "ttl_s": 90, "content": said}
        ]
    assert await receipts(sandbox, other) == []
    assert await sendings(platform, task_id) == {str(number): "sent" for number, _ in browsers}
    used = await platform.rows("SELECT id FROM push_subscription WHERE last_used_at IS NOT NULL ORDER BY id")
    assert [row["id"] for row in used] == [number for number, _ in browsers]


async def test_expired_browsers_are_removed_even_the_last_one(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    _, gone = await subscribe(platform, sandbox, user)
    number, stays = await subscribe(platform, sandbox, user)
    await sandbox.unsubscribe(gone)

    (task_id,) = await platform.submit(SEND_PUSH, push(user))
    result = json.loads((await platform.until(task_id, "success"))["result"])

    assert (result["sent_to"], result["removed"]) == (1, 1)
    assert [row["id"] for row in await platform.rows("SELECT id FROM push_subscription")] == [number]

    await sandbox.unsubscribe(stays)
    (task_id,) = await platform.submit(SEND_PUSH, push(user))
    result = json.loads((await platform.until(task_id, "success"))["result"])
    assert (result["sent_to"], result["removed"], result["message_status"]) == (0, 1, "removed")

    (task_id,) = await platform.submit(SEND_PUSH, push(user))
    row = await platform.until(task_id, "failure")
    assert row["failures"] == 1
    assert f"user {user} has no push subscription" in row["error_message"]


async def test_a_retry_waits_for_the_busiest_push_service_and_skips_browsers_that_have_it(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    browsers = [browser for _, browser in [await subscribe(platform, sandbox, user) for _ in range(4)]]
    faults: list[dict[str, Any]] = [
        {"status": 429, "headers": {"retry-after": "300"}},
        {"status": 503, "headers": {"retry-after": "30"}},
        {"drop": "after"},
    ]
    for browser, fault in zip(browsers, faults, strict=False):
        await sandbox.arm(service="push", path=browser, **fault)

    (task_id,) = await platform.submit(SEND_PUSH, push(user))
    await platform.until(task_id, "retry")

    (waits,) = await platform.rows(
        "SELECT extract(epoch FROM send_at - now())::float8 AS s FROM task WHERE id = {}", task_id
    )
    assert waits["s"] == pytest.approx(300, abs=15)
    assert [len(await receipts(sandbox, browser)) for browser in browsers] == [0, 0, 1, 1]

    await platform.rows("UPDATE task SET send_at = now() WHERE id = {}", task_id)
    await platform.start_scheduler()
    result = json.loads((await platform.until(task_id, "success"))["result"])
    assert result["sent_to"] == 4
    # The third browser had received its message, but the answer was lost. So it gets the message
    # twice, and the second one replaces the first.
    assert [len(await receipts(sandbox, browser)) for browser in browsers] == [1, 1, 2, 1]
    assert (await sandbox.books())["push"]["waiting"] == 4


async def test_a_refusal_is_reported_after_all_other_browsers_have_the_message(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    (refusing, path), (number, browser) = [await subscribe(platform, sandbox, user) for _ in range(2)]
    await sandbox.arm(service="push", path=path, status=403, body='{"message": "another key"}')

    (task_id,) = await platform.submit(SEND_PUSH, push(user))
    row = await platform.until(task_id, "failure")

    host = sandbox.url.removeprefix("http://")
    said = f"1 of 2 browsers not reached: the push service {host} answered 403: another key"
    assert said in row["error_message"]
    assert len(await receipts(sandbox, browser)) == 1
    assert await sendings(platform, task_id) == {str(refusing): "failed", str(number): "sent"}
    (kept,) = await platform.rows("SELECT count(*) AS n FROM push_subscription")
    assert kept["n"] == 2


async def test_a_rerun_after_a_kill_does_not_push_again_to_browsers_that_have_the_message(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    worker = await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    (_, first), (_, second) = [await subscribe(platform, sandbox, user) for _ in range(2)]
    await sandbox.arm(service="push", path=second, delay_s=300)
    (task_id,) = await platform.submit(SEND_PUSH, push(user))

    async def hangs() -> bool:
        return await sandbox.happened() == {"push late": 1}

    await eventually(hangs)
    worker.kill()
    await platform.start_worker(**settings(sandbox))
    row = await platform.until(task_id, "success", "failure", timeout_s=RESCUE_LIMIT_S)

    assert row["status"] == "success", row["error_message"]
    assert row["claim"] > 1
    assert json.loads(row["result"])["sent_to"] == 2
    assert [len(await receipts(sandbox, browser)) for browser in (first, second)] == [1, 1]


async def test_a_browser_that_an_earlier_attempt_began_to_remove_is_removed(
    platform: Platform, sandbox: Sandbox
) -> None:
    user = await account(platform)
    browsers = [await subscribe(platform, sandbox, user) for _ in range(2)]
    (task_id,) = await platform.submit(SEND_PUSH, push(user))
    for (number, _), status in zip(browsers, ("removed", "sending"), strict=True):
        await platform.rows(
            "INSERT INTO notification_log (task, channel, target, subject, status)"
            " VALUES ({}, 'push', {}, '', {})",
            *(task_id, str(number), status),
        )

    await platform.start_worker(**settings(sandbox))
    await platform.start_scheduler()
    result = json.loads((await platform.until(task_id, "success"))["result"])

    assert (result["sent_to"], result["removed"]) == (1, 1)
    assert [len(await receipts(sandbox, browser)) for _, browser in browsers] == [0, 1]
    assert [row["id"] for row in await platform.rows("SELECT id FROM push_subscription")] == [browsers[1][0]]


async def test_each_reachable_user_gets_a_separate_task(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox))
    users = [await account(platform, name) for name in ("asha", "ravi", "mira", "left", "deaf")]
    browsers = [(await subscribe(platform, sandbox, user))[1] for user in [users[0], *users[:4]]]
    await platform.rows("UPDATE account SET is_active = false WHERE id = {}", users[3])
    asked = [users[4], *users, users[0], 10**12]

    bulk = SendBulk(user_ids=asked, title="Hello", message="everybody", data={"a": 1}, ttl_s=5)
    (task_id,) = await platform.submit(SEND_BULK, bulk, owner=users[2])
    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    result = json.loads(row["result"])
    assert (result["submitted"], result["unreachable"]) == (3, [users[4], users[3], 10**12])
    children = await platform.rows(
        "SELECT id, params FROM task WHERE parent = {} AND owner = {}", task_id, users[2]
    )
    assert sorted(json.loads(child["params"])["user_id"] for child in children) == users[:3]
    rows = await platform.all_final([child["id"] for child in children])
    assert {row["status"] for row in rows} == {"success"}
    assert [len(await receipts(sandbox, browser)) for browser in browsers] == [1, 1, 1, 1, 0]
    (got,) = await receipts(sandbox, browsers[2])
    assert (got["content"]["body"], got["content"]["data"], got["ttl_s"]) == ("everybody", {"a": 1}, 5)


async def test_a_user_keeps_the_twenty_browsers_that_were_reached_last(platform: Platform) -> None:
    user = await account(platform)
    ids = [
        (await platform.rows(inbox.SUBSCRIBE, user, f"https://push.example.com/{n}", "", ""))[0]["id"]
        for n in range(20)
    ]
    await platform.rows(inbox.USED, ids[0])
    (again,) = await platform.rows(inbox.SUBSCRIBE, user, "https://push.example.com/5", "new", "")
    (new,) = await platform.rows(inbox.SUBSCRIBE, user, "https://push.example.com/20", "", "")

    kept = await platform.rows(inbox.LIST_SUBSCRIPTIONS, user)

    assert again["id"] == ids[5]
    assert [row["id"] for row in kept] == [ids[0], *ids[2:], new["id"]]


async def test_without_a_vapid_key_nothing_is_sent_and_the_setting_is_named(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox, VAPID_PRIVATE_KEY=""))
    user = await account(platform)
    await subscribe(platform, sandbox, user)
    tasks = [
        *await platform.submit(SEND_PUSH, push(user)),
        *await platform.submit(SEND_BULK, SendBulk(user_ids=[user], title="Hello", message="there")),
    ]

    for row in await platform.all_final(tasks):
        assert (row["status"], row["failures"]) == ("failure", 1)
        assert "VAPID_PRIVATE_KEY is not set" in row["error_message"]


async def test_the_log_of_messages_is_pruned_except_entries_of_unfinished_tasks(platform: Platform) -> None:
    (waiting,) = await platform.submit(SEND_PUSH, push(await account(platform)))
    for task_id, days in ((waiting, 100), (uuid7(datetime.now(UTC)), 100), (uuid7(datetime.now(UTC)), 89)):
        await platform.rows(
            "INSERT INTO notification_log (task, channel, target, subject, status, created_at)"
            " VALUES ({}, 'push', '1', '', 'sent', now() - make_interval(days => {}))",
            *(task_id, days),
        )

    run = await run_inline(prune_log, PruneLog(), database=platform.database)

    assert run.result is not None
    assert run.result.rows_deleted == 1
    kept = await platform.rows("SELECT task FROM notification_log WHERE created_at < now() - interval '90 d'")
    assert [row["task"] for row in kept] == [waiting]
