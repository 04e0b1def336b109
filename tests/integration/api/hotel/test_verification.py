"""Tests the confirmation of a mail address: from the API through a worker to a mailbox, and back
through the link in the mail.
"""

import asyncio
import email
import email.policy
import json
import secrets
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest

from local import mail as catcher
from local import mailbox
from shared.contracts.account_mail import AccountMailKind, SendAccountMail
from shared.hotel.contracts.email import SEND_ACCOUNT_MAIL
from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform

PASSWORD = "a horse, a battery"
CONFIRM = "Please confirm your address"
TAKEN = "Your address has an account already"
CHANGE = "Your account is about to get another address"
PRICES = {"hotel_name": "Sea View", "currency": "INR", "old_price": 2.0, "new_price": 1.0}


class Guest:
    """A person with an account, a session and a mailbox, who sends the requests of a test."""

    def __init__(self, hotel: "Hotel", address: str) -> None:
        self.hotel, self.address, self.id = hotel, address, 0
        self.http = httpx.AsyncClient(base_url=hotel.api.url, trust_env=False, timeout=30)

    async def register(self) -> None:
        new = {"email": self.address, "password": PASSWORD, "full_name": "Win money at evil.example"}
        answer = await self.http.post("/api/v1/auth/register", json=new)
        assert (answer.status_code, answer.json()["verified"]) == (201, False)
        self.id = answer.json()["id"]
        await self.sign_in()

    async def sign_in(self) -> None:
        credentials = {"email": self.address, "password": PASSWORD}
        tokens = (await self.http.post("/api/v1/auth/login", json=credentials)).raise_for_status().json()
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    async def me(self) -> tuple[str, bool]:
        account = (await self.http.get("/api/v1/auth/me")).raise_for_status().json()
        return account["email"], account["verified"]

    async def change_to(self, address: str) -> httpx.Response:
        return await self.http.put("/api/v1/auth/me/email", json={"email": address, "password": PASSWORD})

    async def welcome(self) -> dict[str, Any]:
        """Submit a welcome mail. Returns the task's row once it has ended."""
        body = {"user_id": self.id, "email_type": "welcome"}
        answer = (await self.http.post("/api/v1/tasks/email", json=body)).raise_for_status()
        return await self.hotel.platform.until(answer.json()["task_id"], "success", "failure")

    async def link(self) -> str:
        return await self.hotel.link(self.address)


class Hotel:
    """The processes that these tests need: an API, a worker and a mail server."""

    def __init__(self, platform: Platform, api: Api, folder: Path) -> None:
        self.platform, self.api, self.folder = platform, api, folder
        self.guests: list[Guest] = []

    async def guest(self) -> Guest:
        guest = Guest(self, f"{secrets.token_hex(6)}@often-hotels.example")
        self.guests.append(guest)
        await guest.register()
        return guest

    async def verified_guest(self) -> Guest:
        guest = await self.guest()
        assert (await guest.http.post(await guest.link())).status_code == 200
        return guest

    def mails(self, address: str) -> list[Message]:
        """The mails to this address, in the order of their arrival."""
        files = [file.read_bytes() for file in sorted(self.folder.glob("*.eml"))]
        messages = [email.message_from_bytes(file, policy=email.policy.default) for file in files]
        return [message for message in messages if message["X-RcptTo"] == address]

    def subjects(self, address: str) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails(address)]

    async def mailed(self, address: str, *subjects: str) -> None:
        """Wait until all mails are sent, and check that exactly these subjects reached the address,
        in this order.
        """
        await eventually(self._is_idle)
        assert self.subjects(address) == list(subjects)

    async def _is_idle(self) -> bool:
        return not await self.platform.rows("SELECT 1 FROM task WHERE status NOT IN ('success', 'failure')")

    async def link(self, address: str) -> str:
        return await eventually(lambda: mailbox.link(self.folder, address))


@pytest.fixture
async def hotel(platform: Platform, tmp_path: Path) -> AsyncIterator[Hotel]:
    folder = tmp_path / "mail"
    folder.mkdir()
    async with await catcher.serve(0, folder) as server:
        port = str(server.sockets[0].getsockname()[1])
        api = Api(platform)
        starting = api.start(OFTEN_PUBLIC_URL=api.url)
        await asyncio.gather(
            starting,
            platform.start_worker(SMTP_HOST=catcher.HOST, SMTP_PORT=port, OFTEN_PUBLIC_URL=api.url),
        )
        hotel = Hotel(platform, api, folder)
        yield hotel
        await asyncio.gather(*(guest.http.aclose() for guest in hotel.guests))


async def test_an_address_gets_other_mail_only_after_its_confirmation(
    hotel: Hotel,
) -> None:
    guest = await hotel.guest()
    link = await guest.link()

    refused = await guest.welcome()
    assert (refused["status"], refused["error_kind"], refused["attempt"]) == ("failure", "refused", 1)
    assert refused["error_message"].startswith(f"AddressUnverified: user {guest.id} has not confirmed")

    page = await guest.http.get(link)
    assert (page.status_code, '<form method="post">' in page.text) == (200, True)
    assert await guest.me() == (guest.address, False)

    assert (await guest.http.post(link)).status_code == 200
    assert await guest.me() == (guest.address, True)
    assert (await guest.welcome())["status"] == "success"
    await hotel.mailed(guest.address, CONFIRM, "Welcome to Often Hotels!")
    asking = hotel.mails(guest.address)[0]
    assert asking["To"] == guest.address
    assert "evil" not in asking.as_string()
    assert (await guest.http.post(link)).json()["type"] == "urn:often:problem:unknown-confirmation"


async def test_the_token_is_in_the_mail_and_nowhere_else(hotel: Hotel) -> None:
    guest = await hotel.guest()
    token = (await guest.link()).rpartition("/")[2]
    (row,) = await hotel.platform.rows("SELECT * FROM task WHERE name = {}", SEND_ACCOUNT_MAIL.name)
    await hotel.platform.until(row["id"], "success")

    told = [await guest.http.get("/api/v1/tasks"), await guest.http.get(f"/api/v1/tasks/{row['id']}")]
    assert [answer.status_code for answer in told] == [200, 404]
    assert token not in "".join(answer.text for answer in told)
    for table in ("task", "task_attempt", "task_log", "account_confirmation", "notification_log"):
        kept = await hotel.platform.rows(f"SELECT t::text AS row FROM {table} AS t")
        assert token not in "".join(each["row"] for each in kept)
    logs = "".join(hotel.platform.log_of(process) for process in hotel.platform.processes)
    assert token not in logs


async def test_made_up_and_expired_tokens_and_those_of_inactive_accounts_are_refused(hotel: Hotel) -> None:
    guest, other = await hotel.guest(), await hotel.guest()

    async def verify(token: str) -> int:
        return (await guest.http.post("/api/v1/auth/verify", json={"token": token})).status_code

    mine, theirs = [(await each.link()).rpartition("/")[2] for each in (guest, other)]
    await hotel.platform.rows("UPDATE account SET is_active = false WHERE id = {}", other.id)
    assert [await verify(token) for token in ("", mine.swapcase(), theirs)] == [404] * 3

    expires = "UPDATE account_confirmation SET expires_at = now() + make_interval(secs => {}) WHERE true"
    await hotel.platform.rows(expires, 0.0)
    assert await verify(mine) == 404
    assert await guest.me() == (guest.address, False)
    await hotel.platform.rows(expires, 60.0)
    assert await verify(mine) == 200
    assert await verify(mine) == 404


async def test_an_address_gets_three_mails_an_hour_even_for_simultaneous_requests(
    hotel: Hotel,
) -> None:
    guest = await hotel.guest()
    asked = [guest.http.post("/api/v1/auth/me/verification") for _ in range(6)]
    answers = await asyncio.gather(*asked)

    assert sorted(answer.status_code for answer in answers) == [202, 202, 429, 429, 429, 429]
    (refusal, *_) = [answer for answer in answers if answer.status_code == 429]
    assert 3_500 < int(refusal.headers["Retry-After"]) <= 3_600
    await hotel.mailed(guest.address, CONFIRM, CONFIRM, CONFIRM)
    # The limit is per mail address: it also counts confirmation mails that other accounts request
    # for it.
    assert (await (await hotel.guest()).change_to(guest.address)).status_code == 429

    # The limit counts the mails of the last hour. Once they are older, another mail may be
    # requested.
    await hotel.platform.rows("UPDATE account_confirmation SET created_at = created_at - interval '1 hour'")
    assert (await guest.http.post("/api/v1/auth/me/verification")).status_code == 202
    assert (await guest.http.post(await guest.link())).status_code == 200
    assert (await guest.http.post("/api/v1/auth/me/verification")).status_code == 409


async def test_a_new_address_counts_once_confirmed_and_the_old_one_is_notified(
    hotel: Hotel,
) -> None:
    guest = await hotel.verified_guest()
    new = f"new-{guest.address}"
    wrong = {"email": new, "password": "another horse"}
    assert (await guest.http.put("/api/v1/auth/me/email", json=wrong)).status_code == 400

    assert (await guest.change_to(new)).status_code == 202
    await hotel.mailed(guest.address, CONFIRM, CHANGE)
    link = await hotel.link(new)
    assert await guest.me() == (guest.address, True)
    assert (await guest.http.post(link)).status_code == 200
    assert await guest.me() == (new, True)
    guest.address = new
    await guest.sign_in()
    await hotel.mailed(new, CONFIRM)


async def test_a_taken_address_looks_like_a_free_one_and_only_its_mail_differs(hotel: Hotel) -> None:
    holder, guest = await hotel.verified_guest(), await hotel.verified_guest()
    free = await guest.change_to(f"free-{guest.address}")
    taken = await guest.change_to(holder.address)

    assert (free.status_code, free.json()) == (taken.status_code, taken.json())
    await hotel.mailed(guest.address, CONFIRM, CHANGE, CHANGE)
    await hotel.mailed(holder.address, CONFIRM, TAKEN)
    assert "/verify/" not in hotel.mails(holder.address)[-1].as_string()
    # The log row of a mail belongs to the account that holds the address, so that erasing this
    # account erases the row. It does not belong to the account that requested the mail.
    logged = await hotel.platform.rows(
        'SELECT DISTINCT "user" FROM notification_log WHERE target = {}', holder.address
    )
    assert [row["user"] for row in logged] == [holder.id]
    # A later request replaces the link of an earlier one, so the earlier link no longer works.
    assert (await guest.http.post(await hotel.link(f"free-{guest.address}"))).status_code == 404
    assert await guest.me() == (guest.address, True)


async def test_the_second_account_that_confirms_an_address_is_refused(
    hotel: Hotel,
) -> None:
    first, second = await hotel.verified_guest(), await hotel.verified_guest()
    wanted = f"wanted-{first.address}"
    assert (await first.change_to(wanted)).status_code == 202
    early = await hotel.link(wanted)
    assert (await second.change_to(wanted)).status_code == 202
    await hotel.mailed(wanted, CONFIRM, CONFIRM)
    late = await hotel.link(wanted)

    assert (await second.http.post(late)).status_code == 200
    refused = await first.http.post(early)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:often:problem:address-taken")
    assert await first.me() == (first.address, True)


async def test_a_new_password_cancels_a_change_of_address(hotel: Hotel) -> None:
    guest = await hotel.verified_guest()
    new = f"new-{guest.address}"
    assert (await guest.change_to(new)).status_code == 202
    link = await hotel.link(new)
    change = {"current_password": PASSWORD, "new_password": PASSWORD + " and a cart"}
    assert (await guest.http.post("/api/v1/auth/password", json=change)).status_code == 204
    assert (await guest.http.post(link)).status_code == 404


async def test_an_unconfirmed_address_is_not_notified_of_a_change(hotel: Hotel) -> None:
    guest = await hotel.guest()
    await guest.link()
    new = f"new-{guest.address}"
    assert (await guest.change_to(new)).status_code == 202
    assert (await guest.http.post(await hotel.link(new))).status_code == 200
    await hotel.mailed(guest.address, CONFIRM)


async def test_only_staff_send_mail_with_their_own_text_and_no_caller_sends_account_mail(
    hotel: Hotel,
) -> None:
    guest = await hotel.verified_guest()
    mail = {"user_id": guest.id, "email_type": "price_alert", "data": PRICES}
    refused = await guest.http.post("/api/v1/tasks/email", json=mail)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (403, "email_type")
    task = {"name": "email.send_price_alert", "params": {"user_id": guest.id, "alert": PRICES}}
    assert (await guest.http.post("/api/v1/tasks", json=task)).status_code == 403

    await hotel.platform.rows("UPDATE account SET role = 'administrator' WHERE id = {}", guest.id)

    # The API caches callers for a second, so the test polls until it sees the changed role.
    async def is_administrator() -> bool:
        return (await guest.http.post("/api/v1/tasks/email", json=mail)).status_code == 202

    assert await eventually(is_administrator)
    params = SendAccountMail(kind=AccountMailKind.CHANGE, user_id=guest.id, address="li@often.example")
    forged = {"name": SEND_ACCOUNT_MAIL.name, "params": json.loads(SEND_ACCOUNT_MAIL.encode_params(params))}
    answer = await guest.http.post("/api/v1/tasks", json=forged)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")
    schedule = {"name": "spam", "kind": "interval", "expression": "1 h", "params": forged["params"]}
    answer = await guest.http.post("/api/v1/schedules", json=schedule | {"task_name": forged["name"]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "task_name")
    assert forged["name"] not in (await guest.http.get("/api/v1/catalogue")).text
