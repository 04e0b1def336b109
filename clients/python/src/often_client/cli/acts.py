"""The commands that retry, cancel, start and release single tasks."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import rich_click as click

from often_client.answers import Submitted
from often_client.cli.access import Access
from often_client.cli.on_each import on_each
from often_client.cli.options import Pair, as_json, delay, ids, params_of, pass_access, reason
from often_client.cli.output import Column, show

COLUMNS = (
    Column("id", lambda done: done.task_id),
    Column("status", lambda done: done.status, "state"),
    Column("message", lambda done: done.message, "long"),
)


@click.command()
@ids
@click.option(
    "--param", "pairs", type=Pair(), multiple=True, help="Change one parameter, for example user_id=7."
)
@click.option(
    "--json", "file", metavar="FILE", help="Replace all parameters with this JSON file; - is stdin."
)
@click.option("--queue", help="Run the tasks in another queue.")
@click.option("--priority", type=click.IntRange(0, 9), help="New priority; 9 is served first.")
@delay
@click.option(
    "--handlers",
    type=click.Choice(["again", "keep"]),
    help="Needed if handlers of the workflow have run: judge them again, or keep them.",
)
@reason
@pass_access
def retry(
    access: Access,
    /,
    ids: tuple[UUID, ...],
    pairs: tuple[tuple[str, Any], ...],
    file: str | None,
    **changes: Any,
) -> None:
    """Run failed or canceled tasks again, with changes if you like.

    `--param` changes one parameter and keeps the others. The parameters are checked as in a submission.
    """

    def again(task_id: UUID) -> Submitted:
        params: dict[str, Any] | None = None
        if file is not None:
            params = params_of(pairs, file)
        elif pairs:
            params = access.client.task(task_id).params | params_of(pairs, None)
        return access.client.retry(task_id, params=params, **changes)

    if file == "-" and len(ids) > 1:
        raise click.UsageError("--json - works for one task only. Use a file for several.")
    _each(ids, again, as_json=False)


@click.command()
@ids
@as_json
@pass_access
def cancel(access: Access, ids: tuple[UUID, ...], as_json: bool) -> None:
    """Cancel tasks.

    A waiting task does not start any more. A running body is asked to stop.
    """
    _each(ids, access.client.cancel, as_json=as_json)


@click.command("run-now")
@ids
@click.option("--past-pause", is_flag=True, help="Start them even if their queue is paused.")
@reason
@as_json
@pass_access
def run_now(
    access: Access, ids: tuple[UUID, ...], past_pause: bool, reason: str | None, as_json: bool
) -> None:
    """Start delayed tasks and retries now."""
    client = access.client
    _each(ids, lambda each: client.run_now(each, past_pause=past_pause, reason=reason), as_json=as_json)


@click.command()
@ids
@reason
@as_json
@pass_access
def release(access: Access, ids: tuple[UUID, ...], reason: str | None, as_json: bool) -> None:
    """Release tasks from a crash loop.

    Such tasks were given up because they kill workers. They start again with their first attempt.
    """
    _each(ids, lambda each: access.client.release(each, reason=reason), as_json=as_json)


def _each(ids: tuple[UUID, ...], act: Callable[[UUID], Submitted], *, as_json: bool) -> None:
    on_each(ids, act, lambda done: show(done, COLUMNS, as_json=as_json, empty=""))
