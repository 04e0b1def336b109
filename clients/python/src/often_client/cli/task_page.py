"""Prints one task with its attempts, logs and stacks, for the command `often task`."""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from often_client.answers import Attempt, Stack, Task, TaskLogs, TaskPlace, TaskStacks
from often_client.cli.output import age, console, duration, line, print_json, rendered
from often_client.cli.text import json_line, plain


class Printer(Protocol):
    """Prints a task, its attempts, logs and stacks in one output format."""

    def task(self, task: Task) -> None: ...
    def place(self, place: TaskPlace) -> None: ...
    def attempts(self, attempts: Iterable[Attempt]) -> None: ...
    def logs(self, logs: TaskLogs) -> None: ...
    def stacks(self, stacks: TaskStacks) -> None: ...
    def outcome(self, task: Task) -> None: ...


class _Json:
    """The output format JSON: one object per line, first the task, then each requested part."""

    def task(self, task: Task) -> None:
        print_json(task)

    def place(self, place: TaskPlace) -> None:
        print_json(place)

    def attempts(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            print_json(attempt)

    def logs(self, logs: TaskLogs) -> None:
        for each in logs.logs:
            print_json(each)

    def stacks(self, stacks: TaskStacks) -> None:
        print_json(stacks)

    def outcome(self, task: Task) -> None:
        print_json(task)


class _Terminal:
    """The output format for people: text, with colors only on a terminal."""

    def __init__(self) -> None:
        self._console = console()

    def task(self, task: Task) -> None:
        from rich.text import Text  # noqa: PLC0415

        self._console.print(Text(plain(task.task_name), style="bold"), rendered(task.status, "state"))
        for name, value in _facts(task):
            if value not in (None, ""):
                self._console.print(Text(f"  {name:<10} {plain(value)}"), soft_wrap=True)
        self._document("params", task.params)
        self.outcome(task)

    def outcome(self, task: Task) -> None:
        if task.error_message:
            self._plain(f"{task.error_kind}: {task.error_message}")
        if task.error_traceback:
            self._plain(task.error_traceback)
        if task.result is not None:
            self._document("result", task.result)

    def place(self, place: TaskPlace) -> None:
        if place.before is not None:
            more = "" if place.before_is_exact else "+"
            starts = f", may start {age(place.predicted_start)}" if place.predicted_start else ""
            line(f"{place.before:,}{more} tasks of {plain(place.queue)} come before it{starts}")
        for cause in place.causes:
            self._plain(cause.message)

    def attempts(self, attempts: Iterable[Attempt]) -> None:
        for each in attempts:
            ran = duration(each.execution_time_seconds)
            words = (each.outcome or "running", age(each.started_at), ran)
            line(f"attempt {each.attempt}: {plain(' '.join(words))}".rstrip())
            if each.error_message:
                self._plain(f"  {each.error_kind}: {each.error_message}")
            if each.error_traceback:
                self._plain(each.error_traceback)

    def logs(self, logs: TaskLogs) -> None:
        left_out = logs.total_logs - len(logs.logs)
        if left_out > 0:
            line(f"({left_out:,} earlier lines omitted)")
        for each in logs.logs:
            self._plain(f"{each.logged_at:%Y-%m-%d %H:%M:%S} {each.level:8} {each.message}")

    def stacks(self, stacks: TaskStacks) -> None:
        print_stacks(stacks.stacks)

    def _document(self, name: str, value: Any) -> None:
        document = msgspec.json.format(msgspec.json.encode(value), indent=2)
        self._plain(f"{name} {json_line(document)}")

    def _plain(self, words: str) -> None:
        line(plain(words, keep_lines=True))


def json_printer() -> Printer:
    return _Json()


def terminal_printer() -> Printer:
    return _Terminal()


def print_stacks(stacks: Iterable[Stack]) -> None:
    for stack in stacks:
        line(plain(stack.name))
        for frame in stack.frames:
            line(f"  {plain(frame.file)}:{frame.line} in {plain(frame.function)}")
            line(f"    {plain(frame.code)}")


def _facts(task: Task) -> list[tuple[str, Any]]:
    retried = f", {task.failures} failed, {task.crashes} crashed" if task.failures or task.crashes else ""
    step = f"step {task.step} of " if task.step else ""
    return [
        ("id", task.id),
        ("queue", f"{task.queue}, priority {task.priority}"),
        ("owner", task.owner),
        ("attempt", f"{task.attempt} of {task.max_attempts}{retried}"),
        ("created", f"{task.created_at:%Y-%m-%d %H:%M:%S} UTC, {age(task.created_at)}"),
        ("starts", age(task.scheduled_for) if task.scheduled_for and not task.is_final else None),
        ("started", age(task.started_at)),
        ("ended", age(task.completed_at)),
        ("ran", duration(task.execution_time_seconds)),
        ("progress", f"{task.progress_percentage}% {task.progress_message or ''}".rstrip()),
        ("waits", task.wait_reason),
        ("worker", task.worker),
        ("workflow", f"{step}{task.workflow}" if task.workflow else None),
    ]
