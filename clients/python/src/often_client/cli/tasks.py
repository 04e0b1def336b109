"""The commands that list tasks, follow them, and show one."""

from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import rich_click as click

from often_client.answers import Task, TaskState
from often_client.cli import task_page
from often_client.cli.access import Access
from often_client.cli.exit_codes import DONE, WRONG
from often_client.cli.filters import filtered
from often_client.cli.options import Id, as_json, end, limit, page_size, pass_access
from often_client.cli.output import Column, flush, line, note, print_json, show
from often_client.cli.text import plain
from often_client.client import Client

#: Statuses of a task that has not started or waits for a retry.
WAITING = frozenset({"pending", "retry"})
#: Number of log lines that `--logs` shows, which is the maximum that the API returns at once.
MAX_LINES = 1_000
COLUMNS = (
    Column("id", lambda task: task.id),
    Column("status", lambda task: task.status, "state"),
    Column("task", lambda task: task.task_name),
    Column("queue", lambda task: task.queue),
    Column("attempt", lambda task: f"{task.attempt}/{task.max_attempts}"),
    Column("created", lambda task: task.created_at, "time"),
    Column("ran", lambda task: task.execution_time_seconds, "seconds"),
    Column("why", lambda task: task.error_message or task.wait_reason or task.progress_message, "long"),
)


@click.command()
@filtered
@limit
@click.option("--follow", is_flag=True, help="Print changes as they happen, until Ctrl-C.")
@as_json
@pass_access
def tasks(access: Access, filters: dict[str, Any], limit: int, follow: bool, as_json: bool) -> None:
    """List tasks, newest first, or follow them.

    A task is listed if it matches all filters. A filter that is given several times matches any of its
    values. Columns of the tab-separated output: id, status, task, queue, attempt, created, running time in
    seconds, why.
    """
    if follow:
        _follow_all(access.client, filters, as_json=as_json)
    else:
        found = access.client.tasks(page_size=page_size(limit), **filters)
        show(islice(found, limit), COLUMNS, as_json=as_json, empty="No task matches.")


@click.command()
@click.argument("id", type=Id())
@click.option("--follow", is_flag=True, help="Print changes and log lines until the task ends.")
@click.option("--logs", is_flag=True, help="Add the log lines of the body.")
@click.option("--attempts", is_flag=True, help="Add each attempt with its error.")
@click.option("--stack", is_flag=True, help="Add the present stacks of the running body.")
@click.option("--unmask", is_flag=True, help="Show sensitive fields. For administrators; it is audited.")
@as_json
@pass_access
def task(
    access: Access,
    id: UUID,
    follow: bool,
    logs: bool,
    attempts: bool,
    stack: bool,
    unmask: bool,
    as_json: bool,
) -> None:
    """Show a task, or follow it until it ends.

    ID may be a link to the task's page. With `--follow`, the exit code is 1 if the task does not succeed.
    """
    client = access.client
    if follow:
        _follow_one(client, id, as_json=as_json)
        return
    shown = client.task(id, unmask=True if unmask else None)
    printer = task_page.json_printer() if as_json else task_page.terminal_printer()
    printer.task(shown)
    if shown.status in WAITING:
        printer.place(client.place(id))
    if attempts:
        printer.attempts(client.attempts(id))
    if logs:
        printer.logs(client.logs(id, last=MAX_LINES))
    if stack:
        printer.stacks(client.stack(id))


def exit_code(ended: Task) -> int:
    """The exit code for a command that waited for this task: 0 if it succeeded, else 1."""
    return DONE if ended.status == "success" else WRONG


def _follow_one(client: Client, task_id: UUID, *, as_json: bool) -> None:
    """Print the events of a task until it ends. Exits with 1 if the task does not succeed."""
    for event in client.task_events(task_id, logs="debug"):
        if as_json:
            print_json(event)
        elif event.lines:
            for each in event.lines:
                line(f"  {each.logged_at:%H:%M:%S} {plain(each.level):7} {plain(each.message)}")
        elif event.task is not None and event.event != "end":
            line(state_line(event.task))
        elif event.event == "degraded":
            note("Live events are interrupted: changes arrive a few seconds late.")
        flush()
    ended = client.task(task_id)
    if not as_json:
        task_page.terminal_printer().outcome(ended)
    end(exit_code(ended))


def _follow_all(client: Client, filters: dict[str, Any], *, as_json: bool) -> None:
    known = {"status", "name", "queue", "owner"}
    if refused := filters.keys() - known:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(refused))
        raise click.UsageError(
            f"--follow works with --status, --name, --queue and --owner, not with {options}"
        )
    single = {name: filters[name][0] for name in ("name", "queue") if name in filters}
    if any(len(filters.get(name, ())) > 1 for name in single):
        raise click.UsageError("--follow works with one --name and one --queue")
    for event in client.events(status=filters.get("status"), owner=filters.get("owner"), **single):
        for change in event.tasks:
            if as_json:
                print_json(change)
            else:
                line(state_line(change))
        flush()


def state_line(state: TaskState) -> str:
    """The changed state of a task as one line of text."""
    progress = f"{state.progress_percentage}% {state.progress_message or ''}"
    words = f"{state.task_id} {state.status} {state.task_name} {progress}"
    return f"{datetime.now().astimezone():%H:%M:%S} {plain(words).rstrip()}"
