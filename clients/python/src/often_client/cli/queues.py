"""The commands that list, pause, resume and purge queues."""

import rich_click as click

from often_client.answers import Queue
from often_client.cli.access import Access
from often_client.cli.options import as_json, confirm, pass_access, reason, yes
from often_client.cli.output import Column, note, print_json, show


def state_of(queue: Queue) -> str:
    return "paused" if queue.paused else "running" if queue.workers else "unserved"


COLUMNS = (
    Column("queue", lambda queue: queue.queue),
    Column("state", state_of, "state"),
    Column("waiting", lambda queue: queue.waiting, "number"),
    Column("oldest", lambda queue: queue.oldest_age_s if queue.waiting else None, "seconds"),
    Column("later", lambda queue: queue.due_later, "number"),
    Column("workers", lambda queue: queue.workers, "number"),
    Column("paused since", lambda queue: queue.paused and queue.paused.since, "time"),
    Column("why", lambda queue: queue.paused and queue.paused.reason, "long"),
)


@click.command()
@as_json
@pass_access
def queues(access: Access, as_json: bool) -> None:
    """List queues with their waiting tasks.

    Columns of the tab-separated output: queue, state, waiting tasks, age of the oldest in seconds, tasks
    due later, workers, paused since, why.
    """
    show(access.client.queues(), COLUMNS, as_json=as_json, empty="There are no queues.")


@click.command()
@click.argument("queue")
@click.option("--reason", required=True, help="Reason; shown in the list of queues.")
@as_json
@pass_access
def pause(access: Access, queue: str, reason: str, as_json: bool) -> None:
    """Pause a queue: its tasks wait until you resume it.

    Running tasks continue, and new tasks are accepted. The pause outlasts restarts of all processes.
    """
    paused = access.client.pause_queue(queue, reason)
    if as_json:
        print_json(paused)
        return
    note(paused.message)
    if paused.expiring:
        note(
            f"{paused.expiring} waiting tasks expire if the pause lasts, first at {paused.first_expires_at}."
        )


@click.command()
@click.argument("queue")
@reason
@as_json
@pass_access
def resume(access: Access, queue: str, reason: str | None, as_json: bool) -> None:
    """Resume a queue: its tasks start again."""
    resumed = access.client.resume_queue(queue, reason=reason)
    print_json(resumed) if as_json else note(resumed.message)


@click.command()
@click.argument("queue")
@reason
@yes
@pass_access
def purge(access: Access, queue: str, reason: str | None, yes: bool) -> None:
    """Cancel all waiting tasks of a queue.

    This includes delayed tasks and retries. Running tasks continue. It requires an administrator.
    """
    waits = access.client.queue(queue)
    confirm(f"Cancel {waits.waiting:,} waiting tasks of {queue}, and all that are due later?", is_sure=yes)
    canceled, more = 0, True
    try:
        while more:
            purged = access.client.purge_queue(queue, confirm=queue, reason=reason)
            canceled, more = canceled + purged.canceled, purged.more
    finally:
        note(f"Canceled {canceled:,} tasks of {queue}.")
