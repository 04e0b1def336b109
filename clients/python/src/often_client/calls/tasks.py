"""API calls that read, follow and change tasks."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from often_client.answers import (
    Attempt,
    Submitted,
    Task,
    TaskChanged,
    TaskLogs,
    TaskPage,
    TaskPlace,
    TaskResult,
    TaskStacks,
)
from often_client.choices import Handlers, LogLevel, TaskStatus
from often_client.exchange import Call, Steps
from often_client.methods import Calls, listing, method, stream

#: Maximum duration in seconds of one request in which the API waits for a task's end. Proxies often
#: close a connection that is silent for a minute.
LONG_POLL_S = 25.0


class TaskCalls(Calls):
    @method
    def task(self, task_id: UUID, *, unmask: bool | None = None) -> Steps[Task]:
        """Return a task with its progress and result. With `unmask`, administrators see sensitive
        fields.
        """
        return self._ask(Call("GET", f"tasks/{task_id}", Task, query={"unmask": unmask}))

    @listing
    def tasks(
        self,
        *,
        status: Sequence[TaskStatus] | None = None,
        name: Sequence[str] | None = None,
        queue: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        owner: int | None = None,
        task_type: str | None = None,
        worker: UUID | None = None,
        parent: UUID | None = None,
        workflow: UUID | None = None,
        schedule: str | None = None,
        fingerprint: str | None = None,
        error: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        completed_after: datetime | None = None,
        completed_before: datetime | None = None,
        page_size: int | None = None,
    ) -> Call[TaskPage]:
        """List the tasks that match all filters, newest first.

        If a filter is a sequence, any of its items may match. `params={"user_id": 7}` matches tasks
        with this parameter, and dots lead to nested parameters. `task_type` is the first part of
        the task's name, `error` a part of the error message, and `fingerprint` identifies the cause
        of the failure.
        """
        query = {
            "status": status,
            "name": name,
            "queue": queue,
            "owner": owner,
            "task_type": task_type,
            "worker": worker,
            "parent": parent,
            "workflow": workflow,
            "schedule": schedule,
            "fingerprint": fingerprint,
            "error": error,
            "created_after": created_after,
            "created_before": created_before,
            "completed_after": completed_after,
            "completed_before": completed_before,
            "limit": page_size,
        }
        query |= {f"params.{name}": value for name, value in (params or {}).items()}
        return Call("GET", "tasks", TaskPage, query=query)

    @method
    def result(self, task_id: UUID, *, wait_s: float = 0) -> Steps[TaskResult]:
        """Return the result of a task as soon as it has ended.

        After `wait_s` seconds (at most 60), the state of an unfinished task is returned instead.
        """
        return self._ask(_result(task_id, wait_s))

    @method
    def wait(self, task_id: UUID, timeout_s: float = 60.0) -> Steps[Task]:
        """Wait for the end of a task and return the task, whether it succeeded or not.

        Raises TimeoutError when it has not ended within `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = max(deadline - time.monotonic(), 0)
            result = yield from self._ask(_result(task_id, min(left_s, LONG_POLL_S)))
            if result.is_final:
                return (yield from self._ask(Call("GET", f"tasks/{task_id}", Task)))
            if time.monotonic() >= deadline:
                raise TimeoutError(f"Task {task_id} is still {result.status} after {timeout_s:g} s.")

    @stream
    def task_events(self, task_id: UUID, *, logs: LogLevel | None = None) -> Call[None]:
        """Yield each change of a task until its end. With `logs`, also yield its log lines of this
        level and above.
        """
        return Call("GET", f"tasks/{task_id}/events", type(None), query={"logs": logs})

    @stream
    def events(
        self,
        *,
        status: Sequence[TaskStatus] | None = None,
        name: str | None = None,
        queue: str | None = None,
        owner: int | None = None,
    ) -> Call[None]:
        """Yield each change of the tasks that the account may see and that match all filters. This
        stream does not end by itself.
        """
        query = {"status": status, "name": name, "queue": queue, "owner": owner}
        return Call("GET", "events", type(None), query=query)

    @method
    def place(self, task_id: UUID) -> Steps[TaskPlace]:
        """Return where a waiting task is in its queue, and when it may start."""
        return self._ask(Call("GET", f"tasks/{task_id}/place", TaskPlace))

    @method
    def attempts(self, task_id: UUID) -> Steps[list[Attempt]]:
        """List all attempts of a task, each with its last log lines."""
        return self._ask(Call("GET", f"tasks/{task_id}/attempts", list[Attempt]))

    @method
    def logs(self, task_id: UUID, *, level: LogLevel = "debug", last: int = 100) -> Steps[TaskLogs]:
        """Return the last log lines of a task, of this level and above, at most 1,000, over all its
        attempts.
        """
        query = {"level": level, "limit": last}
        return self._ask(Call("GET", f"tasks/{task_id}/logs", TaskLogs, query=query))

    @method
    def cancel(self, task_id: UUID) -> Steps[Submitted]:
        """Cancel a task. A waiting task does not start, and a running body is asked to stop."""
        return self._ask(Call("DELETE", f"tasks/{task_id}", Submitted))

    @method
    def retry(
        self,
        task_id: UUID,
        *,
        params: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: int | None = None,
        delay_s: float | None = None,
        handlers: Handlers | None = None,
        reason: str | None = None,
    ) -> Steps[Submitted]:
        """Run a failed or canceled task again, with these changes. Requires an operator.

        `params` replaces all parameters. If the task belongs to a workflow whose handlers have
        already run, `handlers` is required.
        """
        body = {
            "params": params,
            "queue": queue,
            "priority": priority,
            "delay_s": delay_s,
            "handlers": handlers,
            "reason": reason,
        }
        return self._ask(Call("POST", f"tasks/{task_id}/retry", Submitted, body=body))

    @method
    def change(
        self,
        task_id: UUID,
        *,
        priority: int | None = None,
        send_at: datetime | None = None,
        params: Mapping[str, Any] | None = None,
        queue: str | None = None,
        reason: str | None = None,
    ) -> Steps[TaskChanged]:
        """Change a waiting task. Users may change only the priority of their own tasks."""
        body = {"priority": priority, "send_at": send_at, "params": params, "queue": queue, "reason": reason}
        return self._ask(Call("PATCH", f"tasks/{task_id}", TaskChanged, body=body))

    @method
    def run_now(
        self, task_id: UUID, *, past_pause: bool = False, reason: str | None = None
    ) -> Steps[Submitted]:
        """Start a delayed task, or one that waits for a retry, now. Requires an operator.

        `past_pause` starts it even if its queue is paused.
        """
        body = {"past_pause": past_pause, "reason": reason}
        return self._ask(Call("POST", f"tasks/{task_id}/run-now", Submitted, body=body))

    @method
    def release(self, task_id: UUID, *, reason: str | None = None) -> Steps[Submitted]:
        """Start a task again that was given up because its worker died each time it ran. Requires
        an operator.
        """
        return self._ask(Call("POST", f"tasks/{task_id}/release", Submitted, body={"reason": reason}))

    @method
    def stack(self, task_id: UUID) -> Steps[TaskStacks]:
        """Return the present stacks of a running task's body. Requires an operator."""
        return self._ask(Call("GET", f"tasks/{task_id}/stack", TaskStacks))


def _result(task_id: UUID, wait_s: float) -> Call[TaskResult]:
    return Call("GET", f"tasks/{task_id}/result", TaskResult, query={"wait_s": wait_s}, wait_s=wait_s)
