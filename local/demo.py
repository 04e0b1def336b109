"""Shows the running system at work: submits a realistic mix of tasks and watches them end. `make demo`."""

import asyncio
import secrets
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from local import mailbox, orders, system
from local.errors import LaunchError
from local.system import Administrator, System

STATUSES = ("pending", "started", "retry", "success", "failure", "revoked")
FINAL = frozenset({"success", "failure", "revoked"})
LIMIT_S = 60.0
POLL_S = 0.25
REQUEST_TIMEOUT_S = 10.0
GUESTS = ("Ada", "Grace", "Barbara", "Frances", "Radia", "Margaret")
#: The mail catcher takes one mail to these. It defers later ones, or refuses them for good.
DEFERRED, REJECTED = "+then451", "+then550"
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
    """The tasks of this run, as the API last told."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    @property
    def open(self) -> list[str]:
        return [task_id for task_id, task in self.tasks.items() if task["status"] not in FINAL]

    @property
    def retrying(self) -> list[dict[str, Any]]:
        return [task for task in self.tasks.values() if task["status"] == "retry"]

    @property
    def ended(self) -> int:
        return len(self.tasks) - len(self.open)

    @property
    def settled(self) -> bool:
        """Nothing is left but tasks that wait for a retry, which may be half an hour away."""
        return len(self.open) == len(self.retrying)

    @property
    def rate(self) -> float:
        return self.ended / max(time.monotonic() - self.begun, 0.001)


async def sign_in(api: httpx.AsyncClient, administrator: Administrator) -> None:
    """Make every later request the administrator's."""
    credentials = {"email": administrator.email, "password": administrator.password}
    tokens = await _post(api, "auth/login", credentials)
    api.headers["Authorization"] = f"Bearer {tokens['access_token']}"


def health_checks() -> list[dict[str, Any]]:
    """Some as they are, some with a priority, some that wait."""
    ways: list[dict[str, Any]] = [{} for _ in range(40)]
    ways += [{"priority": priority} for priority in (1, 9) for _ in range(10)]
    ways += [{"delay_s": seconds} for seconds in (2, 3, 4, 5)]
    return [{"name": "system.health_check", "params": {}, **way} for way in ways]


async def submit_mix(api: httpx.AsyncClient, running: System) -> list[str]:
    """Register guests, who confirm their addresses, and submit a mix of tasks; returns the tasks' ids."""
    me = (await api.get("auth/me")).raise_for_status().json()
    run = secrets.token_hex(3)
    addresses = [f"{name.lower()}-{run}@often-hotels.example" for name in GUESTS]
    addresses += [f"guest-{run}{code}@often-hotels.example" for code in (DEFERRED, REJECTED)]
    tasks = [_post(api, "tasks", check) for check in health_checks()]
    # One after the other: the API hashes few passwords of one address at a time.
    accounts = [await _register(api, address) for address in addresses]
    await asyncio.gather(*(mailbox.confirm(Path(running.mail_dir), address) for address in addresses))
    for account in accounts:
        to = {"user_id": account["id"]}
        tasks.append(_post(api, "tasks/email", {**to, "email_type": "welcome"}))
        tasks.append(_post(api, "tasks/email", {**to, "email_type": "price_alert", "data": ALERT}))
    ordered = await orders.submit(partial(_post, api), me["id"], running.sandbox)
    return [*ordered, *(submitted["task_id"] for submitted in await asyncio.gather(*tasks))]


async def watch(api: httpx.AsyncClient, task_ids: Sequence[str], console: Console) -> Progress:
    """Show the tasks until nothing is left to wait for, or the limit is reached."""
    progress = Progress({task_id: {"queue": "?", "status": "pending"} for task_id in task_ids})
    with Live(console=console, transient=True) as live:
        while True:
            answers = await asyncio.gather(*(api.get(f"tasks/{task_id}") for task_id in progress.open))
            for answer in answers:
                task = answer.raise_for_status().json()
                progress.tasks[task["task_id"]] = task
            live.update(picture(progress))
            if progress.settled or time.monotonic() - progress.begun > LIMIT_S:
                return progress
            await asyncio.sleep(POLL_S)


def picture(progress: Progress) -> Group:
    """A row for each queue, a column for each status, and how far it is."""
    counts = Counter((task["queue"], task["status"]) for task in progress.tasks.values())
    table = Table("queue", *STATUSES)
    for queue in sorted({queue for queue, _ in counts}):
        table.add_row(queue, *(str(counts[queue, status] or "·") for status in STATUSES))
    bar = ProgressBar(len(progress.tasks), progress.ended, width=32)
    below = Table.grid(padding=(0, 1))
    below.add_row(bar, f"{progress.ended} of {len(progress.tasks)} ended, {progress.rate:.0f} a second")
    return Group(table, below)


def summarise(progress: Progress, mail_dir: str, console: Console) -> None:
    say = partial(console.print, soft_wrap=True, highlight=False, markup=False)
    say(picture(progress))
    for task in progress.tasks.values():
        if task["status"] == "failure":
            say(f"Failed for good: {task['task_name']}, {task['error_message']}")
    for task in progress.retrying:
        again = datetime.fromisoformat(task["scheduled_for"]).astimezone()
        say(f"Tried again at {again:%H:%M:%S}: {task['task_name']}, {task['error_message']}")
    say(f"Mails are in {mail_dir}")


async def _register(api: httpx.AsyncClient, address: str) -> Any:
    name = address.partition("-")[0].capitalize()
    registration = {"email": address, "password": secrets.token_urlsafe(), "full_name": name}
    return await _post(api, "auth/register", registration)


async def _post(api: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    # A payment needs a key; elsewhere it does no harm.
    answer = await api.post(path, json=body, headers={"Idempotency-Key": secrets.token_hex()})
    if answer.is_error:
        raise LaunchError(f"POST {answer.url.path} answered {answer.status_code}: {answer.text}")
    return answer.json()


async def demo() -> int:
    running = system.read()
    console = Console()
    async with httpx.AsyncClient(
        base_url=f"{running.api}/api/v1/", timeout=REQUEST_TIMEOUT_S, trust_env=False
    ) as api:
        await sign_in(api, running.admin)
        progress = await watch(api, await submit_mix(api, running), console)
    summarise(progress, running.mail_dir, console)
    if not progress.settled:
        raise LaunchError(f"{len(progress.open)} tasks have not ended within {LIMIT_S:.0f} s; see var/log.")
    return 0


def main() -> int:
    try:
        return asyncio.run(demo())
    except (LaunchError, httpx.HTTPError) as error:
        print(f"make demo: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
