"""Renders the live view of `often top`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from often_client.answers import Worker
from often_client.cli import queues
from often_client.cli.board import Board, Failed, Running
from often_client.cli.output import Column, table
from often_client.cli.status import described, rates, verdict
from often_client.cli.text import plain
from often_client.cli.view import HELP, View

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

#: Maximum number of problems that the live view shows.
MAX_PROBLEMS = 4


def page(board: Board, view: View, rows: Sequence[Running | Failed], now: float) -> "Group":
    """Render the whole live view. `rows` are the tasks to show, and `now` is the time of the
    monotonic clock.
    """
    from rich.console import Group  # noqa: PLC0415 - see `output.console`
    from rich.text import Text  # noqa: PLC0415

    facts = board.facts
    running = [row for row in rows if isinstance(row, Running)]
    failed = [row for row in rows if isinstance(row, Failed)]
    shown: list[RenderableType] = [
        Text(_headline(board, now), style="bold"),
        Text(_prompt(view), style="bold yellow" if view.question else "dim"),
        *(Text(plain(each), style="red") for each in (board.stream_trouble, board.reading_trouble) if each),
        *(Text(described(each)) for each in facts.health.problems[:MAX_PROBLEMS]),
        Text(f"{rates(facts.series, facts.waits)}\n{_of_workers(facts.workers)}\n"),
        table([each for each in facts.queues if view.shows(each.queue)], queues.COLUMNS),
        Text(),
        table(running, _running_columns(view, now)),
    ]
    if failed:
        shown += [Text(), table(failed, _failed_columns(view, now))]
    return Group(*shown)


def _running_columns(view: View, now: float) -> tuple[Column, ...]:
    return (
        Column("  task", lambda each: _marked(view, each)),
        Column("runs for", lambda each: now - each.began_at, "seconds"),
        Column("progress", lambda each: f"{each.progress}%"),
        Column("queue", lambda each: each.queue),
        Column("attempt", lambda each: each.attempt, "number"),
        Column("message", lambda each: each.progress_message, "long"),
        Column("id", lambda each: each.task_id, "long"),
    )


def _failed_columns(view: View, now: float) -> tuple[Column, ...]:
    return (
        Column("  failed", lambda each: _marked(view, each)),
        Column("ago", lambda each: now - each.failed_at, "seconds"),
        Column("queue", lambda each: each.queue),
        Column("id", lambda each: each.task_id),
    )


def _marked(view: View, row: Running | Failed) -> str:
    return f"{'▸' if row.task_id == view.selected else ' '} {row.task_name}"


def _headline(board: Board, now: float) -> str:
    """The top line of the live view: whether it is live, the rate of ended tasks, and
    the health.
    """
    ended = f" · {board.ended_per_s(now):.1f} ended/s" if board.is_live else ""
    return f"{'● live' if board.is_live else '○ not live'}{ended} · {verdict(board.facts.health)}"


def _prompt(view: View) -> str:
    """The line under the headline: the question or text input that is open, a message, or the
    available keys.
    """
    if view.question is not None:
        return plain(f"{view.question.verb} {view.question.task_name} {view.question.task_id}? y/n")
    if view.is_typing:
        return f"/{plain(view.text)}_"
    if view.message:
        return plain(view.message)
    frozen, text = " · frozen" if view.is_frozen else "", f" · /{plain(view.text)}" if view.text else ""
    return f"{HELP}{frozen}{text}"


def _of_workers(workers: Sequence[Worker]) -> str:
    threads, busy = sum(each.threads for each in workers), sum(each.threads_busy for each in workers)
    hosts = plain(", ".join(sorted({each.hostname for each in workers})))
    count = f"{len(workers)} worker{'' if len(workers) == 1 else 's'}"
    return f"{count} on {hosts or 'no host'}, {busy} of {threads} threads busy"
