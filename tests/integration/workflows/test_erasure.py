"""Tests of the erasure of an account with workflows: they end, and steps that never began contain
none of its data.
"""

from datetime import timedelta

import pytest

from services.worker.maintenance.erasing import Erasing
from services.worker.maintenance.erasure import erase_account
from shared.contracts.accounts import EraseAccount
from shared.contracts.catalogue import Catalogue
from shared.errors import NotBefore
from shared.personal.directory import Directory
from shared.testing import run_inline
from shared.workflows import advance as advancing
from shared.workflows.workflow import ALWAYS, Workflow
from tests.integration.workflows.plays import submit
from tests.platform import Platform
from tests.sample_tasks import COUNT, INSTANT, Nothing, Number

ACCOUNT = """
    INSERT INTO account (email, password_hash, full_name, role, is_active, erasure_task)
    VALUES ('left@often.example', 'x', 'Left', 'user', false, uuidv7(interval '-1 day')) RETURNING id
"""


SAMPLES = Directory([], Catalogue([INSTANT, COUNT]))


async def erased(platform: Platform, account: int, directory: Directory = SAMPLES) -> None:
    """Run one attempt of the task that erases an account."""
    await run_inline(
        erase_account,
        EraseAccount(account_id=account),
        gateways={Erasing: Erasing(directory, timedelta(0))},
        database=platform.database,
    )


async def test_the_workflows_of_an_account_that_is_erased_end_and_say_nothing(platform: Platform) -> None:
    (row,) = await platform.rows(ACCOUNT)
    flow = Workflow("left", owner=row["id"])
    first = flow.step(INSTANT, Nothing(), name="first")
    flow.step(COUNT, Number(value=424242), name="never", after=[first])
    flow.step(INSTANT, Nothing(), name="clean", after=[first], when=ALWAYS)
    workflow = await submit(platform, flow)
    with pytest.raises(NotBefore, match="workflows of the account"):
        await erased(platform, row["id"])
    await advancing.advance(platform.database, [workflow])
    with pytest.raises(NotBefore, match="workflows of the account"):
        await erased(platform, row["id"])  # the handler has begun, so this attempt cancels it and waits
    await advancing.advance(platform.database, [workflow])
    await erased(platform, row["id"])
    steps = await platform.rows("SELECT name, state, to_jsonb(s)::text AS text FROM workflow_step AS s")
    assert {step["name"]: step["state"] for step in steps} == {
        "first": "revoked",
        "never": "skipped",
        "clean": "revoked",
    }
    assert not [step for step in steps if "424242" in step["text"]]
    assert not await platform.rows("SELECT 1 FROM account")
