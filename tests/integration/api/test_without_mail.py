"""Tests that addresses need no confirmation when no installed application sends mail."""

import dataclasses
from typing import Any

import httpx
import pytest

from services.api.applications import account_mail_of
from shared.applications import PLATFORM, Application
from shared.errors import SettingsError
from shared.settings import Settings
from tests.integration.api.conftest import side_by_side

PASSWORD = "a horse, a battery"


async def test_without_an_application_that_sends_mail_an_address_is_verified_from_the_start(
    settings: Settings, database: Any
) -> None:
    async with side_by_side(dataclasses.replace(settings, applications="")) as http:
        http.base_url = httpx.URL("http://often/api/v1")
        for name in ("li", "ann"):
            new = {"email": f"{name}@often.example", "password": PASSWORD}
            assert (await http.post("/auth/register", json=new)).json()["verified"] is True
        tokens = (await http.post("/auth/login", json=new)).json()
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

        taken = await http.put("/auth/me/email", json={"email": "li@often.example", "password": PASSWORD})
        assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "email")
        moved = await http.put(
            "/auth/me/email", json={"email": "Ann.Lee@often.example", "password": PASSWORD}
        )
        assert (moved.status_code, moved.json()["mail_sent"]) == (202, False)
        me = (await http.get("/auth/me")).json()
        assert (me["email"], me["verified"]) == ("ann.lee@often.example", True)

        # Make the account look as if it was registered while an application sent mail, so that its
        # address is unconfirmed.
        await database.execute("UPDATE account SET verified_at = NULL")
        assert (await http.get("/auth/me")).json()["verified"] is False
        answer = await http.post("/auth/me/verification")
        assert (answer.status_code, answer.json()["mail_sent"]) == (202, False)
        assert (await http.get("/auth/me")).json()["verified"] is True
    assert await database.fetchval("SELECT count(*) FROM task") == 0


def test_an_application_whose_account_mail_would_not_work_is_refused_at_the_start() -> None:
    wrong = Application(name="shop", account_mail="tests.sample_tasks:INSTANT")
    with pytest.raises(SettingsError, match="the account_mail of shop, must take SendAccountMail"):
        account_mail_of([PLATFORM, wrong])
    with pytest.raises(SettingsError, match="shop and spa both have account_mail"):
        account_mail_of([wrong, Application(name="spa", account_mail="x:Y")])
