"""The commands for bulk operations: one action on everything that matches a filter, after a
preview.
"""

import sys
import time
from itertools import islice
from typing import Any
from uuid import UUID

import rich_click as click

from often_client.answers import Bulk, BulkPreview
from often_client.choices import BulkAction
from often_client.cli.access import Access
from often_client.cli.exit_codes import DONE, WRONG
from often_client.cli.filters import filtered
from often_client.cli.options import Id, as_json, confirm, end, limit, page_size, pass_access, reason, yes
from often_client.cli.output import Column, duration, flush, line, note, print_json, show

#: The actions of `often bulk`, with their names in the API.
ACTIONS: dict[str, BulkAction] = {
    "retry": "retry",
    "cancel": "cancel",
    "run-now": "run_now",
    "release": "release",
    "change": "change",
}
#: Interval in seconds at which `often bulk --wait` reads the progress.
POLL_S = 1.0

COLUMNS = (
    Column("id", lambda act: act.id),
    Column("state", lambda act: act.state, "state"),
    Column("action", lambda act: f"{act.action} {act.kind}"),
    Column("expected", lambda act: act.expected, "number"),
    Column("done", lambda act: act.done, "number"),
    Column("skipped", lambda act: act.skipped, "number"),
    Column("refused", lambda act: act.refused, "number"),
    Column("started", lambda act: act.created_at, "time"),
    Column("filter", lambda act: act.filter, "long"),
)
SAMPLE = (
    Column("id", lambda task: task.id),
    Column("status", lambda task: task.status, "state"),
    Column("task", lambda task: task.name),
    Column("created", lambda task: task.created_at, "time"),
)


@click.group()
def bulk() -> None:
    """Retry, cancel or change all tasks that match a filter."""


@bulk.command()
@click.argument("action", type=click.Choice(list(ACTIONS)))
@click.option(
    "--kind",
    type=click.Choice(["task", "workflow"]),
    default="task",
    show_default=True,
    help="What to act on.",
)
@filtered
@click.option("--to-queue", help="With change: the new queue.")
@click.option("--to-priority", type=click.IntRange(0, 9), help="With change: the new priority.")
@click.option(
    "--handlers",
    type=click.Choice(["again", "keep"]),
    help="Needed for workflows whose handlers have run: judge them again, or keep them.",
)
@click.option("--rate", type=click.IntRange(1), help="Maximum number per second.")
@click.option(
    "--wait", "is_awaited", is_flag=True, help="Wait for the end. Exits with 1 if it does not complete."
)
@reason
@yes
@pass_access
def run(
    access: Access,
    action: str,
    kind: str,
    filters: dict[str, Any],
    to_queue: str | None,
    to_priority: int | None,
    handlers: str | None,
    rate: int | None,
    is_awaited: bool,
    reason: str | None,
    yes: bool,
) -> None:
    """Act on all tasks that match the filters, and print the id of the bulk operation.

    The filters are those of `often tasks`; give at least one. The number of matches and the newest ten
    are shown before you confirm.
    """
    wanted = {"queue": to_queue, "priority": to_priority, "handlers": handlers}
    changes = {name: value for name, value in wanted.items() if value is not None} or None
    act: dict[str, Any] = {"kind": kind, "changes": changes, "rate": rate}
    preview = access.client.preview_bulk(ACTIONS[action], filters, **act)
    _describe(preview)
    if not preview.matches:
        return
    confirm(f"{action.capitalize()} {_number(preview)}?", is_sure=yes)
    started = access.client.start_bulk(ACTIONS[action], filters, preview, reason=reason, **act)
    line(str(started.bulk_id))
    if is_awaited:
        flush()
        _await(access, started.bulk_id)


@bulk.command("list")
@limit
@as_json
@pass_access
def list_acts(access: Access, limit: int, as_json: bool) -> None:
    """List bulk operations, newest first."""
    found = access.client.bulk_acts(page_size=page_size(limit))
    show(islice(found, limit), COLUMNS, as_json=as_json, empty="There were no bulk operations.")


@bulk.command("show")
@click.argument("id", type=Id())
@as_json
@pass_access
def show_one(access: Access, id: UUID, as_json: bool) -> None:
    """Show a bulk operation and its progress."""
    found = access.client.bulk(id)
    print_json(found) if as_json else _summarize(found)


@bulk.command()
@click.argument("id", type=Id())
@pass_access
def stop(access: Access, id: UUID) -> None:
    """Stop a bulk operation. What it has done is not undone."""
    note(access.client.stop_bulk(id).message)


def _await(access: Access, bulk_id: UUID) -> None:
    """Wait for the end of a bulk operation, and print it. Exits with 1 unless it was completed."""
    while not (act := access.client.bulk(bulk_id)).is_final:
        time.sleep(POLL_S)
    _summarize(act)
    end(DONE if act.state == "completed" else WRONG)


def _summarize(act: Bulk) -> None:
    show([act], COLUMNS, as_json=False, empty="")
    for why, number in act.refusals.items():
        note(f"{number:,} refused: {why}")


def _describe(preview: BulkPreview) -> None:
    """Print the preview of a bulk operation to stderr, because stdout is only for the operation's
    id.
    """
    note(f"{_number(preview)} match; this takes about {duration(preview.seconds)}.")
    if preview.sample and sys.stdout.isatty():
        show(preview.sample, SAMPLE, as_json=False, empty="")


def _number(preview: BulkPreview) -> str:
    """The number of matches as text, such as "at least 10,000"."""
    return f"{'' if preview.exact else 'at least '}{preview.matches:,}"
