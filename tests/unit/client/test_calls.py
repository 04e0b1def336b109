"""Tests that the client and the API describe the same routes and the same answers."""

import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import msgspec
import pytest

from often_client import Client, answers
from often_client.calls.api import ApiCalls
from often_client.exchange import Session
from often_client.methods import Described
from services.api.audit import schemas as audit
from services.api.bulk import schemas as bulk
from services.api.identity import account_schemas, key_schemas
from services.api.identity.rights import PUBLIC, RIGHTS
from services.api.live.message import TaskState
from services.api.operations import error_schemas, health_schemas
from services.api.operations import schemas as operations
from services.api.schedules import schemas as schedules
from services.api.tasks import schemas as tasks
from services.api.tasks import stack_schemas
from services.api.tasks import statistics_schemas as statistics
from services.api.workflows import schemas as workflows
from tests.platform import ROOT

ID = UUID(int=7)
NOW = datetime.now(UTC)
#: Arguments with which client calls are tested, by type. For all other types a text is used.
GIVEN: dict[Any, Any] = {
    UUID: ID,
    answers.BulkPreview: answers.BulkPreview(1, True, [], NOW, "token", NOW, 1.0),
}
#: Parts of the paths of routes that the client does not call, because they are for browsers, for
#: people, or for administration.
LEFT_OUT = (
    "/auth/",
    "/keys",
    "/accounts",
    "/schema",
    "/docs",
    "/verify/",
    "/health/",
    "GET /api/v1/queues/{queue}",
)
TYPES: dict[type[msgspec.Struct], type[msgspec.Struct]] = {
    answers.Account: account_schemas.Account,
    answers.Tokens: account_schemas.Tokens,
    answers.NewKey: key_schemas.NewKey,
    answers.Key: key_schemas.Key,
    answers.SystemHealth: health_schemas.SystemHealth,
    answers.Trouble: health_schemas.Problem,
    answers.ErrorGroup: error_schemas.ErrorGroupAnswer,
    answers.ErrorHour: error_schemas.ErrorHourAnswer,
    answers.ErrorDetail: error_schemas.ErrorDetail,
    answers.TaskPlace: tasks.TaskPlace,
    answers.WaitCause: tasks.WaitCause,
    answers.Backfill: schedules.Backfill,
    answers.BackfillTime: schedules.BackfillTime,
    answers.Bulk: bulk.BulkAnswer,
    answers.BulkPreview: bulk.BulkPreview,
    answers.BulkSample: bulk.BulkSample,
    answers.BulkStarted: bulk.BulkStarted,
    answers.BulkStopped: bulk.BulkStopped,
    answers.Target: health_schemas.Target,
    answers.Submitted: tasks.Submitted,
    answers.BatchSubmitted: tasks.BatchSubmitted,
    answers.Task: tasks.TaskAnswer,
    answers.TaskPage: tasks.TaskPage,
    answers.TaskResult: tasks.TaskResult,
    answers.TaskChanged: tasks.TaskChanged,
    answers.LogLine: tasks.LogLine,
    answers.TaskLogs: tasks.TaskLogs,
    answers.Attempt: tasks.AttemptAnswer,
    answers.Contract: tasks.ContractAnswer,
    answers.Retries: tasks.RetriesAnswer,
    answers.TaskState: TaskState,
    answers.Frame: stack_schemas.FrameAnswer,
    answers.Stack: stack_schemas.StackAnswer,
    answers.TaskStacks: stack_schemas.TaskStacks,
    answers.Pause: operations.Pause,
    answers.Queue: operations.QueueAnswer,
    answers.QueuePaused: operations.QueuePaused,
    answers.QueueResumed: operations.QueueResumed,
    answers.QueuePurged: operations.QueuePurged,
    answers.RunningTask: operations.RunningTask,
    answers.Worker: operations.WorkerAnswer,
    answers.WorkerAsked: operations.WorkerAsked,
    answers.Schedule: schedules.ScheduleAnswer,
    answers.Firing: schedules.FiringAnswer,
    answers.Preview: schedules.Preview,
    answers.PreviewTime: schedules.PreviewTime,
    answers.WorkflowSubmitted: workflows.WorkflowSubmitted,
    answers.Workflow: workflows.WorkflowAnswer,
    answers.WorkflowGraph: workflows.WorkflowGraph,
    answers.Step: workflows.StepAnswer,
    answers.TaskSummary: statistics.TaskSummary,
    answers.Point: statistics.Point,
    answers.Series: statistics.Series,
    answers.KindStatistics: statistics.KindStatistics,
    answers.Kinds: statistics.Kinds,
    answers.Count: statistics.Count,
    answers.WaitingKind: statistics.WaitingKind,
    answers.QueueWaits: statistics.QueueWaits,
    answers.Waits: statistics.Waits,
    answers.AuditEntry: audit.AuditEntry,
    answers.QueueList: operations.QueueList,
    answers.Catalogue: tasks.CatalogueAnswer,
}
#: Answers that have no counterpart: the page of any list, and what a schedule fires, which is one of
#: two answers of the API.
WITHOUT_COUNTERPART = {answers.Page, answers.Fired}


def described() -> dict[str, Described[Any, Any]]:
    members = inspect.getmembers(ApiCalls, lambda member: isinstance(member, Described))
    return dict(members)


def route_of(call: Described[Any, Any]) -> str:
    """Method and path of the first request that a client call sends.

    Ids in the path have the value ID.
    """
    client = ApiCalls()
    client.session = Session()
    given = {
        parameter.name: GIVEN.get(parameter.annotation, f"{{{parameter.name}}}")
        for parameter in list(inspect.signature(call.describe).parameters.values())[1:]
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    by_name = {
        name: given.pop(name)
        for name, parameter in inspect.signature(call.describe).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name in given
    }
    asked: Any = call.describe(client, *given.values(), **by_name)
    asked = next(asked) if isinstance(asked, Iterator) else asked
    return f"{asked.method} /api/v1/{unquote(asked.path)}"


def template(route: str) -> str:
    """A route of the API's table RIGHTS, with ID in place of each path variable, so that it equals
    what `route_of` returns.
    """
    for variable in ("task_id", "workflow_id", "worker_id", "key_id", "bulk_id"):
        route = route.replace(f"{{{variable}}}", str(ID))
    return route


def test_a_name_stays_one_segment_of_its_path() -> None:
    client = ApiCalls()
    client.session = Session()
    asked: Any = next(iter(ApiCalls.pause_queue.describe(client, "a?b#c/d", "why")))
    assert asked.path == "queues/a%3Fb%23c%2Fd/pause"


def test_the_readme_lists_every_method() -> None:
    table = (ROOT / "clients/python/README.md").read_text().partition("## What it covers")[2]
    assert {*re.findall(r"`(\w+)`", table)} - {"often"} == described().keys()


def test_a_method_tells_its_arguments_and_what_it_does() -> None:
    cancel = Client("http://127.0.0.1:9").cancel
    assert [*inspect.signature(cancel).parameters] == ["task_id"]
    assert (cancel.__doc__ or "").startswith("Cancel a task.")


def test_every_route_has_a_call_or_is_left_out() -> None:
    known = {template(route) for route in (*RIGHTS, *PUBLIC)}
    asked = {name: route_of(call) for name, call in described().items() if name not in {"get", "post"}}
    assert {name: route for name, route in asked.items() if route not in known} == {}
    uncalled = known - set(asked.values())
    assert {route for route in uncalled if not any(part in route for part in LEFT_OUT)} == {"GET /"}


def test_every_answer_is_compared_with_the_apis() -> None:
    structs = {
        each for each in vars(answers).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)
    }
    assert structs == {*TYPES, *WITHOUT_COUNTERPART}


@pytest.mark.parametrize("struct", TYPES, ids=lambda struct: struct.__name__)
def test_an_answer_is_read_as_it_is_written(struct: type[msgspec.Struct]) -> None:
    written = fields(TYPES[struct])
    read = fields(struct)
    assert {name: written.get(name) for name in read} == read


def fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON schema of each field of a struct.

    For a field that is itself a struct, it is just the word "struct".
    """
    (schema,), components = msgspec.json.schema_components([struct], ref_template="{name}")
    properties = components[schema["$ref"]]["properties"]
    return {name: plain(each, components) for name, each in properties.items()}


def plain(schema: Any, components: dict[str, Any]) -> Any:
    """A JSON schema reduced to what client and API must agree on: without names, descriptions and
    limits.

    An enum counts as a string.
    """
    if isinstance(schema, list):
        return [plain(each, components) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"type": "string"} if "enum" in components[schema["$ref"]] else "struct"
    kept = {"type", "anyOf", "items", "format", "additionalProperties"}
    return {key: plain(value, components) for key, value in schema.items() if key in kept}
