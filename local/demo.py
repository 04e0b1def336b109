"""`make demo`: submits a realistic mix of tasks to the running system, and shows how they end."""

import asyncio
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from local import mailbox, orders, system
from local.errors import LaunchError
from local.system import System
from often_client import AsyncClient, OftenError, Task
from often_client.answers import Account

STATUSES = ("pending", "started", "retry", "success", "failure", "revoked")
LIMIT_S = 60.0
POLL_S = 0.25
GUESTS = ("Ada", "Grace", "Barbara", "Frances", "Radia", "Margaret")
#: Suffixes of mail addresses by which the mail catcher simulates failures: it accepts one mail to
#: such an address, then defers or refuses all later ones.
DEFERRED, REJECTED = "+then451", "+then550"
#: A queue that the demo leaves paused, and the number of tasks in it, so that there is something to
#: decide in the console.
PAUSED, WAITING = "notifications", 3
ALERT = {
    "hotel_name": "Sea View",
    "destination": "Goa",
    "currency": "INR",
    "old_price": 9_000,
    "new_price": 7_450,
    "check_in": "2027-01-15",
    "check_out": "2027-01-18",
}


@dataclass
class Progress:
    """The progress of the tasks that this run of the demo submitted, as last reported
    by the API.
    """

    ids: Sequence[UUID]
    tasks: dict[UUID, Task] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    @property
    def open(self) -> list[UUID]:
        return [each for each in self.ids if each not in self.tasks or not self.tasks[each].is_final]

    @property
    def retrying(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.status == "retry"]

    @property
    def ended(self) -> int:
        return len(self.ids) - len(self.open)

    @property
    def settled(self) -> bool:
        """Whether all unfinished tasks wait for a retry, which may be half an hour away."""
        return len(self.open) == len(self.retrying)

    @property
    def rate(self) -> float:
        return self.ended / max(time.monotonic() - self.begun, 0.001)


def health_checks() -> list[dict[str, Any]]:
    """Returns health check tasks to submit: some plain, some with a priority, some with a delay."""
    ways: list[dict[str, Any]] = [{} for _ in range(40)]
    ways += [{"priority": priority} for priority in (1, 9) for _ in range(10)]
    ways += [{"delay_s": seconds} for seconds in (2, 3, 4, 5)]
    return [{"name": "system.health_check", "params": {}, **way} for way in ways]


async def submit_mix(api: AsyncClient, running: System) -> list[UUID]:
    """Register guests, wait until they have confirmed their addresses, and submit a mix of tasks.

    Returns the tasks' ids.
    """
    me = await api.me()
    run = secrets.token_hex(3)
    addresses = [f"{name.lower()}-{run}@often-hotels.example" for name in GUESTS]
    addresses += [f"guest-{run}{code}@often-hotels.example" for code in (DEFERRED, REJECTED)]
    tasks = [api.post("tasks", check) for check in health_checks()]
    # The accounts are registered one after the other, because the API hashes few passwords at a
    # time for one client address.
    accounts = [await _register(api, address) for address in addresses]
    await asyncio.gather(*(mailbox.confirm(Path(running.mail_dir), address) for address in addresses))
    for account in accounts:
        to = {"user_id": account.id}
        tasks.append(api.post("tasks/email", {**to, "email_type": "welcome"}))
        tasks.append(api.post("tasks/email", {**to, "email_type": "price_alert", "data": ALERT}))
    ordered = await orders.submit(api.post, me.id, running.sandbox)
    submitted = [*ordered, *(each["task_id"] for each in await asyncio.gather(*tasks))]
    return [UUID(task_id) for task_id in submitted]


async def leave_paused(api: AsyncClient) -> None:
    """Pause a queue and submit tasks that then wait in it. The next run of the demo resumes the
    queue.
    """
    me = await api.me()
    await api.pause_queue(PAUSED, "demo: the push provider is down")
    push = {"user_id": me.id, "title": "Your booking", "message": "See you on Friday!"}
    await asyncio.gather(*(api.post("tasks/notification", push) for _ in range(WAITING)))


async def watch(api: AsyncClient, task_ids: Sequence[UUID], console: Console) -> Progress:
    """Show the progress until every task has ended or waits for a retry, or until the time limit is
    reached.
    """
    progress = Progress(task_ids)
    with Live(console=console, transient=True) as live:
        while True:
            for task in await asyncio.gather(*(api.task(task_id) for task_id in progress.open)):
                progress.tasks[task.id] = task
            live.update(picture(progress))
            if progress.settled or time.monotonic() - progress.begun > LIMIT_S:
                return progress
            await asyncio.sleep(POLL_S)


def picture(progress: Progress) -> Group:
    """A table of the tasks, with a row for each queue and a column for each status, and a bar with
    the overall progress.
    """
    counts = Counter((task.queue, task.status) for task in progress.tasks.values())
    table = Table("queue", *STATUSES)
    for queue in sorted({queue for queue, _ in counts}):
        table.add_row(queue, *(str(counts[queue, status] or "·") for status in STATUSES))
    bar = ProgressBar(len(progress.ids), progress.ended, width=32)
    below = Table.grid(padding=(0, 1))
    below.add_row(bar, f"{progress.ended} of {len(progress.ids)} ended, {progress.rate:.0f} a second")
    return Group(table, below)


def summarise(progress: Progress, running: System, console: Console) -> None:
    say = partial(console.print, soft_wrap=True, highlight=False, markup=False)
    say(picture(progress))
    for task in progress.tasks.values():
        if task.status == "failure":
            say(f"Failed for good: {task.task_name}, {task.error_message}")
    for task in progress.retrying:
        again = f" at {task.scheduled_for.astimezone():%H:%M:%S}" if task.scheduled_for else ""
        say(f"Tried again{again}: {task.task_name}, {task.error_message}")
    say(f"Mails are in {running.mail_dir}")
    say(f"Paused, with {WAITING} tasks: {PAUSED}. Resume it at {running.api}/console/queues")


async def _register(api: AsyncClient, address: str) -> Account:
    return await api.register(address, secrets.token_urlsafe(), address.partition("-")[0].capitalize())


async def demo() -> int:
    running = system.read()
    console = Console()
    async with AsyncClient(running.api) as api:
        await api.sign_in(running.admin.email, running.admin.password)
        await api.resume_queue(PAUSED)
        progress = await watch(api, await submit_mix(api, running), console)
        await leave_paused(api)
    summarise(progress, running, console)
    if not progress.settled:
        raise LaunchError(f"{len(progress.open)} tasks did not end within {LIMIT_S:.0f} s; see var/log.")
    return 0


def main() -> int:
    try:
        return asyncio.run(demo())
    except (LaunchError, OftenError, httpx.HTTPError) as error:
        print(f"make demo: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
