"""The commands that list schedules, and show, fire, pause, resume or backfill one."""

from datetime import datetime
from itertools import islice

import rich_click as click

from often_client.answers import Schedule
from often_client.cli.access import Access
from often_client.cli.options import MAX_PAGE_SIZE, Moment, as_json, confirm, pass_access, reason, yes
from often_client.cli.output import Column, line, note, print_json, show
from often_client.cli.text import plain


def state_of(schedule: Schedule) -> str:
    return "running" if schedule.enabled else "paused"


#: Number of past times of a schedule that are shown.
PAST = 5
COLUMNS = (
    Column("schedule", lambda schedule: schedule.name),
    Column("state", state_of, "state"),
    Column("submits", lambda schedule: schedule.task_name or f"workflow {schedule.workflow}", "long"),
    Column("when", lambda schedule: f"{schedule.expression} {schedule.time_zone}", "long"),
    Column("next", lambda schedule: next(iter(schedule.next_fire_times), None), "time"),
    Column("last", lambda schedule: schedule.last_fire_time, "time"),
)
FIRINGS = (
    Column("time", lambda firing: firing.fire_time),
    Column("outcome", lambda firing: firing.outcome),
    Column("id", lambda firing: firing.task_id or firing.workflow_id),
    Column("detail", lambda firing: firing.detail, "long"),
)
BACKFILL = (
    Column("time", lambda each: each.fire_time),
    Column("submitted", lambda each: each.fired_already),
    Column("id", lambda each: each.task_id or each.workflow_id),
)


@click.command()
@click.option("--paused", is_flag=True, help="Only paused schedules.")
@as_json
@pass_access
def schedules(access: Access, paused: bool, as_json: bool) -> None:
    """List schedules by name.

    Columns of the tab-separated output: schedule, state, what it submits, when, next time, last time.
    """
    found = access.client.schedules(enabled=False if paused else None, page_size=MAX_PAGE_SIZE)
    show(found, COLUMNS, as_json=as_json, empty="There are no schedules.")


@click.group()
def schedule() -> None:
    """Show, run, pause, resume or backfill a schedule."""


@schedule.command("show")
@click.argument("name")
@as_json
@pass_access
def show_one(access: Access, name: str, as_json: bool) -> None:
    """Show a schedule with its next and past times."""
    found = access.client.schedule(name)
    if as_json:
        print_json(found)
        return
    show([found], COLUMNS, as_json=False, empty="")
    for moment in found.next_fire_times:
        line(f"next {moment:%Y-%m-%d %H:%M:%S} UTC")
    firings = access.client.firings(name, page_size=PAST)
    show(islice(firings, PAST), FIRINGS, as_json=False, empty="It has not fired yet.")


@schedule.command()
@click.argument("name")
@as_json
@pass_access
def run(access: Access, name: str, as_json: bool) -> None:
    """Fire a schedule once, now, in addition to its regular times."""
    fired = access.client.fire_schedule(name)
    print_json(fired) if as_json else line(str(fired.task_id or fired.workflow_id))


@schedule.command()
@click.argument("name")
@reason
@pass_access
def pause(access: Access, name: str, reason: str | None) -> None:
    """Pause a schedule: it does not fire until you resume it."""
    access.client.pause_schedule(name, reason=reason)
    note(f"{plain(name)} does not fire until you resume it.")


@schedule.command()
@click.argument("name")
@reason
@pass_access
def resume(access: Access, name: str, reason: str | None) -> None:
    """Resume a schedule: it fires again."""
    resumed = access.client.resume_schedule(name, reason=reason)
    times = resumed.next_fire_times
    note(f"{plain(name)} fires again{f', next at {times[0]:%Y-%m-%d %H:%M:%S} UTC' if times else ''}.")


@schedule.command()
@click.argument("name")
@click.option(
    "--from", "start", type=Moment(), required=True, help="Start of the period: a time, or an age such as 7d."
)
@click.option("--to", "stop", type=Moment(), default="0s", help="End of the period; now, if left out.")
@reason
@yes
@as_json
@pass_access
def backfill(
    access: Access, name: str, start: datetime, stop: datetime, reason: str | None, yes: bool, as_json: bool
) -> None:
    """Fire a schedule for its missed times in a period.

    The times are shown before you confirm. A time for which something was submitted is never submitted
    again.
    """
    preview = access.client.backfill_schedule(name, start, stop, dry_run=True)
    if not as_json:
        show(preview.times, BACKFILL, as_json=False, empty="The schedule has no time in this period.")
    if preview.number:
        confirm(f"Submit {preview.number:,} missing times of {plain(name)}?", is_sure=yes)
        preview = access.client.backfill_schedule(name, start, stop, reason=reason)
    print_json(preview) if as_json else note(preview.message)
