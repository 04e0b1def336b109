"""The system that this project replaces, reduced to what a no-op task needs.

It uses Celery's prefork pool and stores results in Redis. Each task has a row in Postgres, which
the task's body reads and saves at the start and at the end, through the ORM Tortoise in an event
loop of its own. A connection belongs to one event loop, so each task opens a new one.
"""

import asyncio
import os
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from celery import Celery, Task
from tortoise import Tortoise, fields
from tortoise.models import Model

from bench import tally

app = Celery("often-hotels", broker=os.environ["BENCH_REDIS_URL"], backend=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_serializer="json",
    accept_content=["json"],
    result_serializer="json",
)

TORTOISE_ORM = {
    "connections": {"default": os.environ["BENCH_DATABASE_URL"]},
    "apps": {"models": {"models": [__name__], "default_connection": "default"}},
    "use_tz": True,
}


class TaskStatus(StrEnum):
    PENDING = "pending"
    STARTED = "started"
    SUCCESS = "success"
    FAILURE = "failure"


class TaskRow(Model):
    id = fields.IntField(primary_key=True)
    task_id = fields.CharField(max_length=255, unique=True)
    task_name = fields.CharField(max_length=255)
    task_type = fields.CharField(max_length=100)
    status = fields.CharEnumField(TaskStatus, default=TaskStatus.PENDING)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)
    started_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)
    execution_time_seconds = fields.FloatField(null=True)
    task_args: Any = fields.JSONField(null=True)
    task_kwargs: Any = fields.JSONField(null=True)
    result: Any = fields.JSONField(null=True)
    error_message = fields.TextField(null=True)
    progress_current = fields.IntField(default=0)
    progress_total = fields.IntField(default=100)
    progress_message = fields.CharField(max_length=500, null=True)
    queue_name = fields.CharField(max_length=100)
    priority = fields.IntField(default=0)

    class Meta:
        table = "tasks"


class BaseTask(Task):  # type: ignore[misc,type-arg]
    async def update_task_status(
        self, task_id: str, status: TaskStatus, result: dict[str, Any] | None = None
    ) -> None:
        row = await TaskRow.get(task_id=task_id)
        row.status = status
        if status is TaskStatus.STARTED:
            row.started_at = datetime.now(UTC)
        else:
            row.completed_at = datetime.now(UTC)
            row.execution_time_seconds = (row.completed_at - row.started_at).total_seconds()
            row.result = result
        await row.save()


@app.task(bind=True, base=BaseTask)
def noop(self: BaseTask) -> dict[str, Any]:
    return asyncio.run(_noop(self))


async def _noop(task: BaseTask) -> dict[str, Any]:
    task_id = task.request.id
    await Tortoise.init(config=TORTOISE_ORM)
    try:
        tally.began()
        await task.update_task_status(task_id, TaskStatus.STARTED)
        result = {"success": True}
        await task.update_task_status(task_id, TaskStatus.SUCCESS, result)
        tally.ended()
        return result
    finally:
        await Tortoise.close_connections()
