"""The command `often status`, which prints the facts of the console's overview on one page."""

from datetime import UTC, datetime, timedelta

import rich_click as click

from often_client.answers import Series, SystemHealth, Trouble, Waits
from often_client.cli import queues, workers
from often_client.cli.access import Access
from often_client.cli.exit_codes import DONE, WRONG
from often_client.cli.options import as_json, end, pass_access
from often_client.cli.output import line, print_json, show
from often_client.cli.text import plain

#: Length of the period for which the numbers of ended and failed tasks are shown.
RECENT = timedelta(minutes=5)


@click.command()
@as_json
@pass_access
def status(access: Access, as_json: bool) -> None:
    """Show what is wrong now, rates, queues and workers.

    The exit code is 1 if something is critical. With `--json`, the first line is the health, and the
    queues and workers follow.
    """
    client = access.client
    health = client.health()
    if as_json:
        print_json(health)
        for each in (*client.queues(), *client.workers()):
            print_json(each)
    else:
        line(verdict(health))
        for trouble in health.problems:
            line(described(trouble))
        line(rates(client.series(hours=1), client.waits()))
        line()
        show(client.queues(), queues.COLUMNS, as_json=False, empty="There are no queues.")
        line()
        show(client.workers(), workers.COLUMNS, as_json=False, empty="No worker runs.")
    end(WRONG if health.verdict == "critical" else DONE)


def verdict(health: SystemHealth) -> str:
    """The health of the platform as one line of text."""
    if health.verdict == "ok":
        return "✓ Nothing is wrong."
    unknown = f"; not read in time: {', '.join(map(plain, health.unknown))}" if health.unknown else ""
    count = len(health.problems)
    return f"{health.verdict}: {count} {'problem' if count == 1 else 'problems'}{unknown}"


def described(trouble: Trouble) -> str:
    """A problem and its remedy as two lines of text."""
    sign = {"critical": "✕", "warning": "!"}.get(trouble.severity, "·")
    return f"{sign} {plain(trouble.sentence)}\n    {plain(trouble.remedy)}"


def rates(series: Series, waits: Waits) -> str:
    """The numbers of waiting tasks, and of tasks that ended in the last minutes, as one line of
    text.
    """
    since = datetime.now(UTC) - RECENT
    recent = [point for point in series.points if point.at >= since]
    ended = sum(point.success + point.failure + point.revoked for point in recent)
    failed = sum(point.failure for point in recent)
    counts = {"waiting": waits.waiting, "due later": waits.later, "held by workers": waits.held}
    now = ", ".join(f"{count.count:,}{'' if count.exact else '+'} {what}" for what, count in counts.items())
    return f"{now}; in the last {RECENT.seconds // 60} min {ended:,} ended, of which {failed:,} failed"
