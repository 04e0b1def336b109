"""Tests of how the quotas of a role are read from the settings of the platform and its
applications.
"""

from collections.abc import Mapping

import pytest

from services.api.quotas import limits
from shared import quota_amounts
from shared.applications import Application
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.errors import SettingsError
from shared.identity.tables import Role
from shared.settings import Settings
from tests.sample_tasks import Done, Nothing

LIBRARY = Application(name="library", quotas=f"{__name__}:per_day")
CLUMSY = Application(name="clumsy", quotas=f"{__name__}:another_waiting")


def per_day(_: Settings) -> Mapping[str, str]:
    return {"loans": "user=2,viewer=0"}


def another_waiting(_: Settings) -> Mapping[str, str]:
    return {"waiting": "user=1"}


def _lend(quota: str) -> Catalogue:
    return Catalogue([Contract(name="loans.lend", queue="loans", params=Nothing, result=Done, quota=quota)])


def test_a_role_has_the_quotas_that_name_it() -> None:
    settings = Settings(quota_priority="none", quota_tasks="user=7, operator=70", quota_waiting="user=9")
    found = limits.by_role(settings, [LIBRARY])
    assert found[Role.USER] == limits.Limits(priority=9, tasks=7, waiting=9, daily={"loans": 2})
    assert found[Role.VIEWER] == limits.Limits(daily={"loans": 0})
    assert found[Role.OPERATOR] == limits.Limits(tasks=70)
    assert found[Role.ADMINISTRATOR] == limits.Limits()


def test_a_contract_takes_only_of_quotas_that_an_application_declares() -> None:
    limits.check(Settings(), [LIBRARY], _lend("loans"))
    with pytest.raises(SettingsError, match=r"loans\.lend uses the quota 'lones'.* correct it to one of"):
        limits.check(Settings(), [LIBRARY], _lend("lones"))


def test_a_daily_quota_has_a_name_of_its_own() -> None:
    with pytest.raises(SettingsError, match="declares the quota 'waiting', whose name is taken"):
        limits.names(Settings(), [CLUMSY])
    with pytest.raises(SettingsError, match="declares the quota 'loans', whose name is taken"):
        limits.names(Settings(), [LIBRARY, LIBRARY])


def test_settings_name_the_roles_as_accounts_have_them() -> None:
    assert set(quota_amounts.ROLES) == set(Role)


@pytest.mark.parametrize(
    "text", ["user", "user=", "guest=1", "user=1,user=2", "user=-1", "user=1;viewer=2", ""]
)
def test_amounts_that_cannot_be_read_are_named(text: str) -> None:
    assert "must be like user=50,viewer=10" in (quota_amounts.problem(text) or "")


def test_no_priority_is_higher_than_nine() -> None:
    assert list(Settings(quota_priority="user=10").broken_rules()) == [
        ("quota_priority", "must be at most 9 for every role, not 'user=10'")
    ]
