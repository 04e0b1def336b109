"""The commands that list, quiet, drain and recycle workers, and show stacks."""

from collections.abc import Callable, Sequence
from uuid import UUID

import rich_click as click

from often_client.answers import Worker, WorkerAsked
from often_client.cli import task_page
from often_client.cli.access import Access
from often_client.cli.on_each import on_each
from often_client.cli.options import MAX_PAGE_SIZE, Id, as_json, ids, pass_access, reason
from often_client.cli.output import Column, note, print_json, show
from often_client.errors import NotFound


def running_of(worker: Worker) -> str:
    return ", ".join(f"{each.task_name} {each.running_s:.0f} s" for each in worker.running)


COLUMNS = (
    Column("id", lambda worker: worker.id),
    Column("state", lambda worker: worker.asked or worker.state, "state"),
    Column("host", lambda worker: f"{worker.hostname} {worker.pid}"),
    Column("release", lambda worker: worker.release),
    Column("queues", lambda worker: ",".join(worker.queues), "long"),
    Column("busy", lambda worker: f"{worker.threads_busy}/{worker.threads}"),
    Column("MB", lambda worker: worker.memory_bytes and worker.memory_bytes // 1_000_000, "number"),
    Column("heartbeat", lambda worker: worker.heartbeat_at, "time"),
    Column("runs", running_of, "long"),
)


@click.command()
@click.option("--dead", is_flag=True, help="Include workers that ended within a week.")
@as_json
@pass_access
def workers(access: Access, dead: bool, as_json: bool) -> None:
    """List workers with their running tasks.

    Columns of the tab-separated output: id, state, host and pid, release, queues, busy threads, memory in
    MB, last heartbeat, running tasks.
    """
    found = access.client.workers(dead=True if dead else None, page_size=MAX_PAGE_SIZE)
    show(found, COLUMNS, as_json=as_json, empty="No worker runs. Start one: python -m services.worker")


@click.command()
@ids
@reason
@as_json
@pass_access
def quiet(access: Access, ids: tuple[UUID, ...], reason: str | None, as_json: bool) -> None:
    """Ask workers to take no new tasks, but to go on running."""
    _ask(ids, lambda each: access.client.quiet_worker(each, reason=reason), as_json=as_json)


@click.command()
@ids
@reason
@as_json
@pass_access
def drain(access: Access, ids: tuple[UUID, ...], reason: str | None, as_json: bool) -> None:
    """Ask workers to finish their running tasks and then to end.

    A supervisor that restarts ended processes starts other workers in their place.
    """
    _ask(ids, lambda each: access.client.drain_worker(each, reason=reason), as_json=as_json)


@click.command()
@ids
@reason
@as_json
@pass_access
def recycle(access: Access, ids: tuple[UUID, ...], reason: str | None, as_json: bool) -> None:
    """Ask workers to finish their running tasks and then to restart.

    They come back under other ids, with the code that is installed then.
    """
    _ask(ids, lambda each: access.client.recycle_worker(each, reason=reason), as_json=as_json)


@click.command()
@click.argument("id", type=Id())
@as_json
@pass_access
def stack(access: Access, id: UUID, as_json: bool) -> None:
    """Show the present stacks of a running body.

    ID is the id of a task, or of a worker to see all its tasks.
    """
    try:
        tasks = [access.client.task(id).id]
    except NotFound:
        tasks = [
            each.task_id
            for worker in access.client.workers(page_size=MAX_PAGE_SIZE)
            if worker.id == id
            for each in worker.running
        ]
        if not tasks:
            raise
    for task_id in tasks:
        found = access.client.stack(task_id)
        if as_json:
            print_json(found)
        else:
            task_page.print_stacks(found.stacks)


def _ask(ids: tuple[UUID, ...], act: Callable[[UUID], WorkerAsked], *, as_json: bool) -> None:
    def show_answers(answers: Sequence[WorkerAsked]) -> None:
        for each in answers:
            print_json(each) if as_json else note(f"{each.worker_id}: {each.message}")

    on_each(ids, act, show_answers)
