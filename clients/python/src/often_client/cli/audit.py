"""The command that lists entries of the audit log."""

from datetime import datetime
from itertools import islice

import rich_click as click

from often_client.answers import AuditEntry
from often_client.cli.access import Access
from often_client.cli.options import Moment, as_json, limit, page_size, pass_access
from often_client.cli.output import Column, show


def target_of(entry: AuditEntry) -> str:
    return f"{entry.target_kind or ''} {entry.target or ''}".strip()


COLUMNS = (
    Column("at", lambda entry: entry.at, "time"),
    Column("actor", lambda entry: entry.actor),
    Column("action", lambda entry: entry.action),
    Column("target", target_of),
    Column("before", lambda entry: entry.before, "long"),
    Column("after", lambda entry: entry.after, "long"),
    Column("reason", lambda entry: entry.reason, "long"),
)


@click.command()
@click.option("--actor", type=int, help="Entries of the account with this id.")
@click.option("--action", help="Entries with this action, such as task.canceled.")
@click.option(
    "--target-kind", help="Kind of the changed object: account, key, task, schedule, queue or worker."
)
@click.option("--target", help="Id of the changed object; needs --target-kind.")
@click.option("--since", type=Moment(), help="Entries since this time, or within this age, such as 2h.")
@click.option("--until", type=Moment(), help="Entries before this time.")
@limit
@as_json
@pass_access
def audit(
    access: Access,
    actor: int | None,
    action: str | None,
    target_kind: str | None,
    target: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List who did what, newest first.

    Columns of the tab-separated output: at, actor, action, target, before, after, reason.
    """
    found = access.client.audit(
        actor=actor,
        action=action,
        target_kind=target_kind,
        target=target,
        since=since,
        until=until,
        page_size=page_size(limit),
    )
    show(islice(found, limit), COLUMNS, as_json=as_json, empty="Nothing was recorded.")
