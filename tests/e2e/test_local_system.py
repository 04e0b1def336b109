"""The whole system as `make run` starts it."""

import email
import email.policy
import tempfile
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import psutil
import pytest

from cli.client import Client
from local import mailbox
from tests.e2e.local_system import START_LIMIT_S, LocalSystem
from tests.eventually import eventually

#: The launcher starts the hotel application.
pytestmark = pytest.mark.hotel

#: What is promised for a rescue is 15 s; the mail's own five seconds come on top.
RESCUE_LIMIT_S = 60
STOP_LIMIT_S = 10
PASSWORD = "a horse, a battery"


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with tempfile.TemporaryDirectory(prefix="often-e2e-") as name:
        Path(name).chmod(0o755)  # PostgreSQL's own account must get through when root runs the tests
        system = LocalSystem(Path(name))
        yield system
        system.close()


async def test_from_http_to_a_mail_and_back_after_a_restart(system: LocalSystem) -> None:
    described = await system.start()
    assert system.description_file.stat().st_mode & 0o777 == 0o600
    with Client(described["api"]) as guest:
        account = guest.register("asha@often-hotels.example", PASSWORD, "Asha Rao")
        await mailbox.confirm(system.mail_folder, "asha@often-hotels.example")
        guest.sign_in("asha@often-hotels.example", PASSWORD)
        task = guest.wait(guest.send_mail(account.id, "welcome"))

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
        task_id = guest.send_mail(account.id, "welcome")
        await eventually(lambda: guest.task(task_id).status == "started")

        killed = [one for one in system.processes() if "services.worker" in one.cmdline()]
        assert len(killed) == 2  # whichever has it
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
        assert guest.wait(guest.send_mail(account.id, "welcome")).status == "success"
