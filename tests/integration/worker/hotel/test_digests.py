"""Tests of the digest of price changes, from the selection of its readers to the mails in their
mailboxes.
"""

import email
import email.policy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local import mail as catcher
from shared.hotel import mailing
from shared.hotel.contracts.email import SEND_DIGESTS, SendDigests
from shared.hotel.workflows.digest import digest
from tests.integration.worker.hotel.test_hotels import account
from tests.integration.workflows.plays import finished, submit
from tests.platform import Platform

TODAY = datetime.now(UTC).date()


async def hotel(platform: Platform, name: str, *, change: float) -> int:
    """Create a hotel whose price changed by `change` yesterday. It was 10,000 before."""
    (row,) = await platform.rows(
        "INSERT INTO hotel (provider, external_id, name) VALUES ('serpapi', {}, {}) RETURNING id", name, name
    )
    await observe(platform, row["id"], price=10_000 + change, before=10_000, days_ago=1)
    return int(row["id"])


async def observe(platform: Platform, place: int, *, price: float, before: float, days_ago: int) -> None:
    await platform.rows(
        "INSERT INTO price_observation (hotel, check_in, check_out, source, observed_on, currency, price,"
        " previous_price, previous_on)"
        " VALUES ({}, {}, {}, 'serpapi', {}, 'INR', {}::float8, {}::float8, {})",
        *(place, TODAY + timedelta(days=7), TODAY + timedelta(days=8), TODAY - timedelta(days=days_ago)),
        *(price, before, TODAY - timedelta(days=days_ago + 1)),
    )


async def watch(platform: Platform, user: int, place: int) -> None:
    await platform.rows(
        'INSERT INTO price_alert ("user", hotel, drop_percent, every_hours) VALUES ({}, {}, 5, 24)',
        *(user, place),
    )


def mails(folder: Path) -> dict[str, Any]:
    """The mails that the mail catcher has stored, by recipient."""
    files = [each.read_bytes() for each in folder.glob("*.eml")]
    return {
        str(mail["To"]): mail
        for mail in (email.message_from_bytes(each, policy=email.policy.default) for each in files)
    }


async def test_users_who_watch_a_price_that_has_fallen_get_a_digest(
    platform: Platform, tmp_path: Path
) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    fallen = await hotel(platform, "Sea View", change=-2_500)
    risen = await hotel(platform, "Hill View", change=2_500)
    back, nearly_back = [await hotel(platform, name, change=-2_500) for name in ("Bay View", "Lake View")]
    for place, price in ((back, 10_000), (nearly_back, 9_000)):
        await observe(platform, place, price=price, before=7_500, days_ago=0)
    reader, quiet, other, unverified = [
        await account(platform, f"{name}@often-hotels.example", verified=name != "new")
        for name in ("asha", "ravi", "li", "new")
    ]
    for user in (reader, quiet, unverified):
        await watch(platform, user, fallen)
    for place in (back, nearly_back):
        await watch(platform, reader, place)
    for place in (risen, back):
        await watch(platform, other, place)
    await platform.rows(mailing.CHOOSE, quiet, mailing.PRICE_ALERTS, False)
    async with await catcher.serve(0, folder) as server:
        port = str(server.sockets[0].getsockname()[1])
        await platform.start_worker(SMTP_HOST=catcher.HOST, SMTP_PORT=port)
        (task_id,) = await platform.submit(SEND_DIGESTS, SendDigests())
        result = json.loads((await platform.until(task_id, "success"))["result"])
        (flow,) = await platform.rows("SELECT id FROM workflow WHERE parent = {}", task_id)
        assert (result["readers"], result["workflow_id"]) == (1, str(flow["id"]))
        assert (await finished(platform, flow["id"]))["status"] == "success"

        # The tenth reader does not exist, so that mail fails. The workflow still succeeds, because
        # nine of ten mails are enough.
        readers = [await account(platform, f"reader{number}@often-hotels.example") for number in range(9)]
        for user in readers:
            await watch(platform, user, fallen)
        many = await submit(platform, digest([*readers, 10**9]))
        assert (await finished(platform, many))["status"] == "success"

    caught = mails(folder)
    assert len(caught) == 10
    mail = caught["Asha <asha@often-hotels.example>"]
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for part in mail.iter_parts():
        assert "Sea View" in part.get_content()
        assert "7,500.00 INR instead of 10,000.00 INR" in part.get_content()
        assert "9,000.00 INR instead of 10,000.00 INR" in part.get_content()
        assert "Hill View" not in part.get_content()
        assert "Bay View" not in part.get_content()
