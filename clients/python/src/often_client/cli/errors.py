"""The commands that list error groups and set their states."""

from datetime import datetime
from itertools import islice
from typing import get_args

import rich_click as click

from often_client.answers import ErrorGroup
from often_client.choices import ErrorDecision, ErrorState
from often_client.cli.access import Access
from often_client.cli.options import Moment, as_json, limit, page_size, pass_access
from often_client.cli.output import Column, line, note, print_json, show
from often_client.cli.text import plain

STATES = get_args(ErrorState)
#: The actions on an error group, with the state to which each sets the group.
ACTS: dict[str, ErrorDecision] = {
    "acknowledge": "acknowledged",
    "mute": "muted",
    "resolve": "resolved",
    "reopen": "open",
}


def cause_of(group: ErrorGroup) -> str:
    return f"{group.type or group.kind}: {group.message or ''}"


COLUMNS = (
    Column("fingerprint", lambda group: group.fingerprint),
    Column("state", lambda group: group.state),
    Column("task", lambda group: group.task_name),
    Column("24 h", lambda group: group.attempts_24h, "number"),
    Column("first seen", lambda group: group.first_seen_at, "time"),
    Column("last seen", lambda group: group.last_seen_at, "time"),
    Column("release", lambda group: group.last_release),
    Column("cause", cause_of, "long"),
)


@click.command()
@click.option("--state", type=click.Choice(STATES), multiple=True, help="Errors in this state.")
@click.option("--name", help="Errors of this kind of task, such as email.send_welcome.")
@click.option("--since", type=Moment(), help="Errors seen since this time, or within this age, such as 2h.")
@limit
@as_json
@pass_access
def errors(
    access: Access,
    state: tuple[ErrorState, ...],
    name: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List errors by cause, last seen first.

    Columns of the tab-separated output: fingerprint, state, task, attempts in 24 hours, first seen, last
    seen, release, cause. `often tasks --fingerprint` lists the tasks.
    """
    found = access.client.errors(
        state=list(state) or None, name=name, since=since, page_size=page_size(limit)
    )
    show(islice(found, limit), COLUMNS, as_json=as_json, empty="No task has failed.")


@click.command()
@click.argument("fingerprint")
@click.argument("act", type=click.Choice(list(ACTS)), required=False)
@click.option(
    "--until", type=Moment(ahead=True), help="With mute: the end, as a time or as a duration such as 2h."
)
@click.option("--note", "words", help="A note for people who see the error next.")
@as_json
@pass_access
def error(
    access: Access,
    fingerprint: str,
    act: str | None,
    until: datetime | None,
    words: str | None,
    as_json: bool,
) -> None:
    """Show an error, or acknowledge, mute, resolve or reopen it.

    A muted error is silent until the given time. A resolved error that occurs again in a newer release is
    reported as regressed.
    """
    if act is None:
        found = access.client.error(fingerprint)
    else:
        found = access.client.change_error(fingerprint, ACTS[act], until=until, note=words)
    if as_json:
        print_json(found)
        return
    show([found], COLUMNS, as_json=False, empty="")
    if act is None:
        line(plain(f"in {found.place}; the last one: often task {found.sample_task_id}"))
    if found.note:
        note(found.note)
