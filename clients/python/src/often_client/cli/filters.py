"""The filter options of `often tasks` and `often bulk`. They have the same names as in the API."""

from collections.abc import Callable
from functools import wraps
from typing import Any, get_args

import rich_click as click

from often_client.choices import TaskStatus
from often_client.cli.options import Id, Moment, Pair

STATUSES = get_args(TaskStatus)


def _options() -> list[Callable[[Any], Any]]:
    many: dict[str, Any] = {"multiple": True}
    return [
        click.option("--status", type=click.Choice(STATUSES), help="Tasks in this state.", **many),
        click.option("--name", help="Tasks of this kind, such as email.send_welcome.", **many),
        click.option("--queue", help="Tasks of this queue.", **many),
        click.option("--task-type", help="Tasks whose name begins with this area, such as email."),
        click.option("--owner", type=int, help="Tasks of the account with this id."),
        click.option("--worker", type=Id(), help="Tasks that this worker runs or ran last."),
        click.option("--parent", type=Id(), help="Tasks that this task submitted."),
        click.option("--workflow", type=Id(), help="Tasks of this workflow."),
        click.option("--schedule", help="Tasks of this schedule."),
        click.option("--fingerprint", help="Tasks that failed with this error; see `often errors`."),
        click.option("--error", help="Tasks whose error message contains this text."),
        click.option(
            "--created-after",
            type=Moment(),
            help="Tasks created after this time, or within this age, such as 2h.",
        ),
        click.option("--created-before", type=Moment(), help="Tasks created before this time."),
        click.option("--completed-after", type=Moment(), help="Tasks that ended after this time."),
        click.option("--completed-before", type=Moment(), help="Tasks that ended before this time."),
        click.option("--param", type=Pair(), help="Tasks with this parameter, such as user_id=7.", **many),
    ]


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: add the filter options to a command. It gets the given ones in its argument
    `filters`.
    """

    @wraps(command)
    def call(*arguments: Any, **named: Any) -> None:
        given = {name: named.pop(name) for name in _NAMES}
        filters = {name: _sent(value) for name, value in given.items() if value not in (None, ())}
        if params := filters.pop("param", None):
            filters["params"] = dict(params)
        command(*arguments, filters=filters, **named)

    decorated: Callable[..., None] = call
    for option in reversed(_options()):
        decorated = option(decorated)
    return decorated


_NAMES = (
    "status",
    "name",
    "queue",
    "task_type",
    "owner",
    "worker",
    "parent",
    "workflow",
    "schedule",
    "fingerprint",
    "error",
    "created_after",
    "created_before",
    "completed_after",
    "completed_before",
    "param",
)


def _sent(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
