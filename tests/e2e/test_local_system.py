"""Tests the whole system as `make run` starts it."""

import email
import email.policy
import tempfile
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

import asyncpg
import psutil
import pytest

from local import mailbox
from often_client import Client
from tests.e2e.local_system import START_LIMIT_S, LocalSystem
from tests.eventually import eventually

#: The system that `make run` starts includes the hotel application, so these tests need it.
pytestmark = pytest.mark.hotel

#: Seconds within which the mail must be sent after its worker was killed. The rescue may take 15 s,
#: and the mail server answers after 5 s.
RESCUE_LIMIT_S = 60
STOP_LIMIT_S = 10
PASSWORD = "a horse, a battery"


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with tempfile.TemporaryDirectory(prefix="often-e2e-") as name:
        Path(name).chmod(0o755)  # the account that runs PostgreSQL must be able to enter this folder
        system = LocalSystem(Path(name))
        yield system
        system.close()


async def roles(database_url: str) -> set[str]:
    """The Postgres roles of all open sessions, except the session that runs this query."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT usename FROM pg_stat_activity WHERE datid IS NOT NULL AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
    return {row["usename"] for row in rows}


def send_mail(guest: Client, user_id: int) -> UUID:
    """Submit the task that sends a welcome mail to the user. Returns its id."""
    return UUID(guest.post("tasks/email", {"user_id": user_id, "email_type": "welcome"})["task_id"])


async def test_from_http_to_a_mail_and_back_after_a_restart(system: LocalSystem) -> None:
    described = await system.start()
    assert system.description_file.stat().st_mode & 0o777 == 0o600
    assert await roles(described["postgres"]) == {"often_api", "often_worker", "often_scheduler"}
    with Client(described["api"]) as guest:
        account = guest.register("asha@often-hotels.example", PASSWORD, "Asha Rao")
        await mailbox.confirm(system.mail_folder, "asha@often-hotels.example")
        guest.sign_in("asha@often-hotels.example", PASSWORD)
        task = guest.wait(send_mail(guest, account.id))

    assert (task.status, task.progress_percentage, task.attempt) == ("success", 100, 1)
    assert task.started_at is not None
    assert task.completed_at is not None
    assert task.created_at < task.started_at < task.completed_at
    [_confirmation, file] = sorted(system.mail)
    mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert mail["To"] == "Asha Rao <asha@often-hotels.example>"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]

    started = time.monotonic()
    assert system.interrupt(60) == 0
    assert time.monotonic() - started < STOP_LIMIT_S
    assert not system.processes()
    assert not system.description_file.exists()

    again = await system.start()
    assert again["admin"] == described["admin"]
    with Client(again["api"]) as guest:
        guest.sign_in("asha@often-hotels.example", PASSWORD)
        assert guest.task(task.id) == task


async def test_a_mail_whose_worker_is_killed_half_way_is_sent_by_another(system: LocalSystem) -> None:
    described = system.description if system.description_file.exists() else await system.start()
    with Client(described["api"]) as guest:
        account = guest.register("ravi+slow5@often-hotels.example", PASSWORD, "Ravi")
        await mailbox.confirm(system.mail_folder, "ravi+slow5@often-hotels.example")
        guest.sign_in("ravi+slow5@often-hotels.example", PASSWORD)
        task_id = send_mail(guest, account.id)
        await eventually(lambda: guest.task(task_id).status == "started")

        killed = [one for one in system.processes() if "services.worker" in one.cmdline()]
        assert len(killed) == 2  # both workers are killed, because either may hold the task
        for worker in killed:
            worker.kill()
        psutil.wait_procs(killed, timeout=10)
        task = guest.wait(task_id, RESCUE_LIMIT_S)

        assert (task.status, task.attempt, task.interruptions, task.crashes) == ("success", 2, 1, 0)
        assert [one.outcome for one in guest.attempts(task_id)] == ["crashed", "success"]


async def test_a_saved_file_restarts_its_service_and_a_broken_one_stops_nothing_else(
    system: LocalSystem,
) -> None:
    described = system.description if system.description_file.exists() else await system.start()
    api, workers = system.pids("api"), system.pids("worker")
    file = system.folder / "services" / "worker" / "__main__.py"
    code = file.read_text()

    file.write_text("def broken(:\n")
    await eventually(lambda: "Save the corrected file" in system.output, START_LIMIT_S)
    file.write_text(code)
    await eventually(lambda: "New code runs after" in system.output, START_LIMIT_S)

    assert system.pids("api") == api
    assert len(system.pids("worker") - workers) == len(workers)
    with Client(described["api"]) as guest:
        account = guest.register("meera@often-hotels.example", PASSWORD, "Meera")
        await mailbox.confirm(system.mail_folder, "meera@often-hotels.example")
        guest.sign_in("meera@often-hotels.example", PASSWORD)
        assert guest.wait(send_mail(guest, account.id)).status == "success"
