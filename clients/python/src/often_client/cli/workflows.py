"""The commands that list workflows, and show, follow, cancel or retry one."""

from itertools import islice
from typing import Any, get_args
from uuid import UUID

import rich_click as click

from often_client.answers import Step
from often_client.choices import RetryMode, WorkflowStatus
from often_client.cli.access import Access
from often_client.cli.exit_codes import DONE, WRONG
from often_client.cli.options import Id, Pair, as_json, end, limit, nested, page_size, pass_access, reason
from often_client.cli.output import Column, flush, line, note, print_json, show
from often_client.cli.tasks import state_line
from often_client.cli.text import plain


def members_of(step: Step) -> str | None:
    if step.members is None:
        return None
    others = "".join(
        f", {count} {word}" for count, word in ((step.failed, "failed"), (step.revoked, "revoked")) if count
    )
    return f"{step.succeeded}/{step.members}{others}"


COLUMNS = (
    Column("id", lambda flow: flow.id),
    Column("status", lambda flow: flow.status, "state"),
    Column("workflow", lambda flow: flow.name),
    Column("open steps", lambda flow: flow.open_steps, "number"),
    Column("run", lambda flow: flow.run, "number"),
    Column("created", lambda flow: flow.created_at, "time"),
    Column("ended", lambda flow: flow.completed_at, "time"),
)
STEPS = (
    Column("step", lambda step: step.step),
    Column("state", lambda step: step.state, "state"),
    Column("task", lambda step: step.task),
    Column("needs", lambda step: ",".join(step.needs), "long"),
    Column("members", members_of),
    Column("id", lambda step: step.task_id),
    Column("why", lambda step: step.error_kind, "long"),
)


@click.command()
@click.option("--status", type=click.Choice(get_args(WorkflowStatus)), help="Workflows in this state.")
@click.option("--name", help="Workflows with this name.")
@limit
@as_json
@pass_access
def workflows(
    access: Access, status: WorkflowStatus | None, name: str | None, limit: int, as_json: bool
) -> None:
    """List workflows, newest first.

    Columns of the tab-separated output: id, status, workflow, open steps, run, created, ended.
    """
    found = access.client.workflows(status=status, name=name, page_size=page_size(limit))
    show(islice(found, limit), COLUMNS, as_json=as_json, empty="No workflow matches.")


@click.group()
def workflow() -> None:
    """Show, follow, cancel or retry a workflow."""


@workflow.command("show")
@click.argument("id", type=Id())
@as_json
@pass_access
def show_one(access: Access, id: UUID, as_json: bool) -> None:
    """Show a workflow with its steps.

    Columns of the tab-separated output: step, state, task, needs, members, task id, why.
    """
    found = access.client.workflow(id)
    if as_json:
        print_json(found)
        return
    show(found.steps, STEPS, as_json=False, empty="The workflow has no steps.")


@workflow.command()
@click.argument("id", type=Id())
@as_json
@pass_access
def follow(access: Access, id: UUID, as_json: bool) -> None:
    """Print the changes of a workflow and its tasks until it ends.

    The exit code is 1 if it does not succeed.
    """
    for event in access.client.workflow_events(id):
        if as_json:
            print_json(event)
        else:
            for change in event.tasks:
                line(state_line(change))
        flush()
    ended = access.client.workflow(id)
    if not as_json:
        show(ended.steps, STEPS, as_json=False, empty="")
    end(DONE if ended.status == "success" else WRONG)


@workflow.command()
@click.argument("id", type=Id())
@pass_access
def cancel(access: Access, id: UUID) -> None:
    """Cancel a workflow. Steps that are defined to run in any case still run."""
    note(access.client.cancel_workflow(id).message)


@workflow.command()
@click.argument("id", type=Id())
@click.option(
    "--mode",
    type=click.Choice(get_args(RetryMode)),
    default="failed",
    show_default=True,
    help="What runs again.",
)
@click.option("--step", help="With --mode from: the first step that runs again.")
@click.option(
    "--param", "pairs", type=Pair(), multiple=True, help="With --mode from: change one parameter of the step."
)
@click.option(
    "--handlers",
    type=click.Choice(["again", "keep"]),
    help="Needed if handlers have run: judge them again, or keep them.",
)
@reason
@pass_access
def retry(
    access: Access, /, id: UUID, pairs: tuple[tuple[str, Any], ...], mode: RetryMode, **options: Any
) -> None:
    """Run a part of a workflow again.

    The mode `failed` repeats what did not succeed, `downstream` also all steps below it, `from` one step
    and all steps below it, and `all` every step.
    """
    done = access.client.retry_workflow(id, mode=mode, params=nested(pairs) or None, **options)
    note(plain(done.message))
