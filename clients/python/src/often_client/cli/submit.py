"""The commands that submit tasks and wait for them."""

import math
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import rich_click as click

from often_client.answers import Task
from often_client.cli.access import Access
from often_client.cli.on_each import on_each
from often_client.cli.options import Moment, Pair, as_json, delay, end, ids, params_of, pass_access
from often_client.cli.output import flush, line, note, show
from often_client.cli.tasks import COLUMNS, exit_code


@click.command()
@click.argument("name")
@click.argument("pairs", type=Pair(), nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "file", metavar="FILE", help="Read the parameters from this JSON file; - is stdin.")
@click.option("--priority", type=click.IntRange(0, 9), help="Priority; 9 is served first.")
@delay
@click.option("--at", "run_at", type=Moment(ahead=True), help="Start at this time.")
@click.option("--expires", "expires_at", type=Moment(ahead=True), help="Do not start after this time.")
@click.option("--key", help="Idempotency key: for a day, commands with the same key submit one task.")
@click.option("--wait", "is_awaited", is_flag=True, help="Wait for the end. Exits with 1 if the task fails.")
@pass_access
def submit(
    access: Access,
    name: str,
    pairs: tuple[tuple[str, Any], ...],
    file: str | None,
    priority: int | None,
    delay_s: float | None,
    run_at: datetime | None,
    expires_at: datetime | None,
    key: str | None,
    is_awaited: bool,
) -> None:
    """Submit a task and print its id.

    A VALUE is read as JSON if it is JSON, and as text otherwise: `user_id=7 email_type=welcome
    place.city=Pune`. Write `'"7"'` for the text 7.
    """
    params = params_of(pairs, file)
    task_id = access.client.submit(
        name, params, priority=priority, delay_s=delay_s, run_at=run_at, expires_at=expires_at, key=key
    )
    line(str(task_id))
    if is_awaited:
        flush()
        _await(access, (task_id,), math.inf, as_json=False)


@click.command()
@ids
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0),
    default=math.inf,
    metavar="SECONDS",
    help="Maximum time of the whole command; unlimited if left out.",
)
@as_json
@pass_access
def wait(access: Access, ids: tuple[UUID, ...], timeout_s: float, as_json: bool) -> None:
    """Wait for the end of tasks and print them.

    The exit code is 1 if one of them did not succeed, or did not end in time.
    """
    _await(access, ids, timeout_s, as_json=as_json)


def _await(access: Access, ids: Sequence[UUID], timeout_s: float, *, as_json: bool) -> None:
    """Wait for the tasks to end, and print them in the given order. Exits with 1 unless all
    succeed.

    Raises TimeoutError.
    """
    if sys.stderr.isatty():
        note("Waiting. Ctrl-C ends the waiting, not the tasks.")
    deadline = time.monotonic() + timeout_s
    codes: list[int] = []

    def ended(task_id: UUID) -> Task:
        try:
            task = access.client.wait(task_id, max(deadline - time.monotonic(), 0))
        except TimeoutError:
            raise TimeoutError(f"Task {task_id} has not ended within {timeout_s:g} s.") from None
        codes.append(exit_code(task))
        return task

    on_each(ids, ended, lambda tasks: show(tasks, COLUMNS, as_json=as_json, empty=""))
    end(max(codes))
