"""Tests that hundreds of the hotel application's tasks succeed while every outside service fails
now and then.
"""

import asyncio
import contextlib
import email
import email.policy
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from local import mail as catcher
from local import outside
from shared.hotel.contracts.email import SEND_WELCOME, SendWelcome
from shared.hotel.contracts.hotels import SEARCH, SearchHotels
from shared.hotel.contracts.notifications import SEND_PUSH, SendPush
from shared.hotel.contracts.payments import PROCESS, ProcessPayment
from shared.new_task import NewTask
from tests.platform import VAPID_PRIVATE_KEY, Platform
from tests.sandbox import Sandbox

SERVICES = ("serpapi", "travclan", "push", "stripe")
USERS = 20
LIMIT_S = 300
#: SQL that makes delayed retries due now, so that the test does not wait minutes for them.
HURRY = "UPDATE task SET send_at = now() WHERE status = 'retry' AND send_at > now()"


@contextlib.asynccontextmanager
async def hurrying(platform: Platform) -> AsyncIterator[None]:
    async def hurry() -> None:
        while True:
            await platform.rows(HURRY)
            await asyncio.sleep(0.5)

    hurried = asyncio.create_task(hurry())
    yield
    hurried.cancel()
    await asyncio.gather(hurried, return_exceptions=True)


async def users(platform: Platform, sandbox: Sandbox) -> list[int]:
    """Create users, each with one browser that receives push messages."""
    ids = []
    for number in range(USERS):
        (row,) = await platform.rows(
            "INSERT INTO account (email, password_hash, verified_at) VALUES ({}, '-', now()) RETURNING id",
            f"guest{number}@often-hotels.example",
        )
        subscribed = await sandbox.subscribe()
        await platform.rows(
            'INSERT INTO push_subscription ("user", endpoint, p256dh, auth) VALUES ({}, {}, {}, {})',
            *(row["id"], subscribed["endpoint"], subscribed["keys"]["p256dh"], subscribed["keys"]["auth"]),
        )
        ids.append(int(row["id"]))
    return ids


def pay(user: int) -> ProcessPayment:
    return ProcessPayment(user_id=user, amount="99.50", currency="INR", payment_method="pm_card_visa")


def mix(people: list[int]) -> list[NewTask]:
    """Create five hundred tasks of four kinds, in random order."""
    arrival = datetime.now(UTC).date() + timedelta(days=20)
    leaving = arrival + timedelta(days=1)
    tasks = []
    for number in range(125):
        user = people[number % len(people)]
        search = SearchHotels(
            user_id=user, destination=f"Town {number}", check_in=arrival, check_out=leaving, max_pages=1
        )
        tasks += [
            NewTask(contract=SEARCH, params=search),
            NewTask(contract=SEND_PUSH, params=SendPush(user_id=user, title="Hello", message=str(number))),
            NewTask(contract=PROCESS, params=pay(user)),
            NewTask(contract=SEND_WELCOME, params=SendWelcome(user_id=user)),
        ]
    random.shuffle(tasks)
    return tasks


async def test_five_hundred_tasks_end_without_repeated_effects_while_providers_fail(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    for service in SERVICES:
        await sandbox.arm(service=service, status=503, share=0.05, times=None)
        await sandbox.arm(service=service, drop="after", share=0.05, times=None)
    folder = tmp_path / "mail"
    folder.mkdir()
    async with await catcher.serve(0, folder) as server:
        settings = outside.stand_ins({}, sandbox.url, VAPID_PRIVATE_KEY).environment
        port = str(server.sockets[0].getsockname()[1])
        for _ in range(2):
            await platform.start_worker(**settings, SMTP_HOST=catcher.HOST, SMTP_PORT=port)
        await platform.start_scheduler()
        people = await users(platform, sandbox)
        ids = await platform.submitter.submit(mix(people))
        async with hurrying(platform):
            rows = await platform.all_final(ids, LIMIT_S)

    assert Counter(row["status"] for row in rows) == {"success": 500}, {r["error_message"] for r in rows}
    happened = await sandbox.happened()
    assert {name.partition(" ")[0] for name in happened} == set(SERVICES), happened
    books = await sandbox.books()
    _charged_once(books["stripe"]["charges"], await platform.rows("SELECT id, status FROM payment"))
    # A push message whose answer was lost is sent again under the same topic, so the browser shows
    # only one message.
    shown = [m["topic"] for one in books["push"]["subscriptions"].values() for m in one["waiting"]]
    assert len(shown) == len(set(shown)) == 125
    mails = [email.message_from_bytes(f.read_bytes(), policy=email.policy.default) for f in folder.iterdir()]
    assert len({mail["Message-ID"] for mail in mails}) == len(mails) == 125
    logged = await platform.rows("SELECT channel, status, count(*) AS n FROM notification_log GROUP BY 1, 2")
    assert {(row["channel"], row["status"]): row["n"] for row in logged} == {
        ("email", "sent"): 125,
        ("push", "sent"): 125,
    }


def _charged_once(charges: list[dict[str, object]], payments: list[dict[str, object]]) -> None:
    charged = Counter(str(charge["payment"]) for charge in charges)
    assert {payment["status"] for payment in payments} == {"succeeded"}
    assert charged == Counter(str(UUID(str(payment["id"]))) for payment in payments)
    assert len(payments) == 125
