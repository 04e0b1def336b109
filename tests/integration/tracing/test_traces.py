"""Tests of the traces of a real system, as an OpenTelemetry collector receives them."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from local.ports import pick
from shared.contracts.contract import Contract, Params
from shared.new_task import NewTask
from shared.schedules import statements as schedules
from tests.api_process import Api
from tests.crew import Crew, StartCrew
from tests.eventually import eventually
from tests.otlp import Collector, Seen, collecting
from tests.platform import Platform, kill
from tests.sample_tasks import EFFECT, FAIL, INSTANT, SPAWN, TALK, Fails, Nothing, Seconds, Spawns

HEALTH_CHECK = {"name": "system.health_check", "params": {}}
#: Trace id and span id of a caller's span. TRACEPARENT is the header `traceparent` with both.
CALLER = (f"{0xA:032x}", f"{0xB:016x}")
TRACEPARENT = f"00-{CALLER[0]}-{CALLER[1]}-01"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@dataclass(frozen=True)
class Traced:
    """A running system whose tasks and requests are all traced."""

    collector: Collector
    crew: Crew
    #: Arguments for an HTTP client: the API's base URL and a caller's credentials.
    api: dict[str, Any]
    #: URL of the worker's metrics. `logs` is the folder with the worker's log.
    metrics_url: str
    logs: Path

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        async with httpx.AsyncClient(**self.api, trust_env=False) as client:
            answer = await client.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    async def attempts(self, task_id: object, count: int = 1) -> list[Seen]:
        """Wait until there are `count` spans of the task's attempts. Returns them."""

        async def seen() -> list[Seen] | None:
            found = self.collector.attempts(task_id)
            return found if len(found) == count else None

        return await eventually(seen)

    async def above(self, span: Seen) -> Seen:
        """The parent span of a span."""
        return await self.span(span.parent)

    async def span(self, span_id: str) -> Seen:
        async def seen() -> Seen | None:
            return next((each for each in self.collector.spans() if each.span_id == span_id), None)

        return await eventually(seen)


@pytest.fixture(scope="module")
def traced(start_crew: StartCrew) -> Iterator[Traced]:
    port = pick("metrics")["metrics"]
    with collecting() as collector, ExitStack() as running:
        tracing = collector.environment | {"OFTEN_LOG_FORMAT": "json"}
        crew = start_crew(scheduler=tracing, **tracing, OFTEN_METRICS_PORT=str(port))
        processes, api = asyncio.run(_start_api(crew, tracing))
        running.callback(kill, processes)
        yield Traced(collector, crew, api, f"http://127.0.0.1:{port}/metrics", crew.logs)


async def _start_api(
    crew: Crew, environment: dict[str, str]
) -> tuple[list[subprocess.Popen[bytes]], dict[str, Any]]:
    async with crew.platform() as platform:
        api = Api(platform)
        await api.start(**environment)
        client = await api.sign_up()
        await client.aclose()
        headers = {"Authorization": client.headers["Authorization"]}
        started, platform.processes = platform.processes, []
        return started, {"base_url": client.base_url, "headers": headers}


async def submit(
    platform: Platform, contract: Contract[Any, Any], params: Params, *, trace_context: str, count: int = 1
) -> list[UUID]:
    """Submit tasks with a trace context, as the API does for a traced request."""
    checked = platform.submitter.checked(NewTask(contract=contract, params=params))
    traced = msgspec.structs.replace(checked, trace_context=trace_context)
    return await platform.submitter.submit([traced] * count)


async def row_of(platform: Platform, task_id: object) -> dict[str, Any]:
    return await platform.until(UUID(str(task_id)), "success", "failure")


async def test_a_request_shows_its_task(traced: Traced) -> None:
    task_id = (await traced.post("tasks", HEALTH_CHECK, traceparent=TRACEPARENT))["task_id"]
    (attempt,) = await traced.attempts(task_id)
    send = await traced.above(attempt)
    request = await traced.above(send)

    assert [(span.service, span.kind, span.name) for span in (request, send, attempt)] == [
        ("often-api", "SERVER", "POST /api/v1/tasks"),
        ("often-api", "PRODUCER", "send system.health_check"),
        ("often-worker", "CONSUMER", "process system.health_check"),
    ]
    assert {span.trace_id for span in (request, send, attempt)} == {request.trace_id}
    # The trace of an untrusted caller is not continued. The request starts a new trace with a link
    # to it.
    assert (request.parent, request.links) == ("", [CALLER])
    assert (send.links, attempt.links) == ([], [])
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/v1/tasks",
        "http.response.status_code": 202,
    }
    assert attempt.attributes == {
        "messaging.system": "often_tasks",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": task_id,
        "often.task": "system.health_check",
        "often.attempt": 1,
        "often.outcome": "success",
    }
    async with traced.crew.platform() as platform:
        assert (await row_of(platform, task_id))["trace_context"] == attempt.context


async def test_tasks_of_a_batch_have_traces_of_their_own_that_link_to_the_batch(traced: Traced) -> None:
    ids = (await traced.post("tasks/batch", {"tasks": [HEALTH_CHECK, HEALTH_CHECK]}))["task_ids"]
    attempts = [(await traced.attempts(task_id))[0] for task_id in ids]
    ((trace_id, span_id),) = attempts[0].links
    send = await traced.span(span_id)
    assert (send.trace_id, send.name) == (trace_id, "send system.health_check")
    assert send.attributes["messaging.batch.message_count"] == 2
    assert [(attempt.parent, attempt.links) for attempt in attempts] == [("", [send.place])] * 2
    assert len({send.trace_id, *(attempt.trace_id for attempt in attempts)}) == 3


@pytest.mark.parametrize(("delay_s", "follows"), [(30, True), (61, False)])
async def test_a_task_follows_its_request_if_it_may_start_within_a_minute(
    traced: Traced, delay_s: int, follows: bool
) -> None:
    task_id = (await traced.post("tasks", HEALTH_CHECK | {"delay_s": delay_s}))["task_id"]
    async with traced.crew.platform() as platform:
        row = await platform.task(UUID(task_id))
    assert row["trace_context"].startswith("link 00-") != follows


async def test_a_request_with_a_key_is_traced_like_one_without(traced: Traced) -> None:
    task_id = (await traced.post("tasks", HEALTH_CHECK, **{"Idempotency-Key": "traced"}))["task_id"]
    (attempt,) = await traced.attempts(task_id)
    assert (await traced.above(attempt)).name == "send system.health_check"


async def test_a_retry_links_to_the_attempt_before(traced: Traced) -> None:
    async with traced.crew.platform() as platform:
        (task_id,) = await submit(platform, FAIL, Fails(kind="expected", times=2), trace_context=TRACEPARENT)
        first, second, third = await traced.attempts(task_id, 3)
        row = await row_of(platform, task_id)
    assert (first.trace_id, first.parent) == CALLER
    assert (second.parent, second.links) == ("", [first.place])
    assert (third.parent, third.links) == ("", [second.place])
    outcomes = [(span.attributes["often.outcome"], span.is_error) for span in (first, second, third)]
    assert outcomes == [("retry", True), ("retry", True), ("success", False)]
    assert first.attributes["error.type"] == "shared.errors.ExpectedError"
    assert row["trace_context"] == third.context


async def test_a_success_that_the_body_writes_itself_names_its_attempt(traced: Traced) -> None:
    async with traced.crew.platform() as platform:
        await platform.rows("CREATE TABLE effect (task_id uuid)")
        await platform.rows("GRANT INSERT ON effect TO often_worker")
        (task_id,) = await submit(platform, EFFECT, Seconds(seconds=0), trace_context=TRACEPARENT)
        row = await row_of(platform, task_id)
    (attempt,) = await traced.attempts(task_id)
    assert row["trace_context"] == attempt.context


async def test_children_are_part_of_the_trace_of_their_parent(traced: Traced) -> None:
    async with traced.crew.platform() as platform:
        (task_id,) = await submit(platform, SPAWN, Spawns(children=1), trace_context=TRACEPARENT)
        await row_of(platform, task_id)
        (child,) = await platform.rows("SELECT id FROM task WHERE parent = {}", task_id)
    (parent,), (attempt,) = await traced.attempts(task_id), await traced.attempts(child["id"])
    send = await traced.above(attempt)
    assert (send.kind, send.name, send.parent) == ("PRODUCER", "send sample.instant", parent.span_id)
    assert {parent.trace_id, send.trace_id, attempt.trace_id} == {CALLER[0]}


async def test_a_join_of_a_workflow_links_to_all_steps_that_it_needs(traced: Traced) -> None:
    needs: dict[str, list[str]] = {"a": [], "b": [], "join": ["a", "b"]}
    steps = [
        {"step": name, "task": "system.health_check", "params": {}, "needs": others}
        for name, others in needs.items()
    ]
    workflow_id = (await traced.post("workflows", {"name": "traced", "steps": steps}))["workflow_id"]
    async with traced.crew.platform() as platform:
        spans = [await _attempt_of_step(traced, platform, workflow_id, name) for name in ("a", "b", "join")]
    first, second, join = spans
    assert sorted(join.links) == sorted([first.place, second.place])
    (place,) = {*first.links, *second.links}
    send = await traced.span(place[1])
    assert (send.name, (await traced.above(send)).name) == ("send traced", "POST /api/v1/workflows")
    assert [span.parent for span in spans] == ["", "", ""]


async def _attempt_of_step(traced: Traced, platform: Platform, workflow_id: str, step: str) -> Seen:
    async def stored() -> Sequence[dict[str, Any]]:
        return await platform.rows(
            "SELECT id FROM task WHERE workflow = {} AND step = {}", UUID(workflow_id), step
        )

    (row,) = await eventually(stored)
    (attempt,) = await traced.attempts(row["id"])
    return attempt


async def test_a_task_of_a_schedule_links_to_its_firing(traced: Traced) -> None:
    async with traced.crew.platform() as platform:
        (clock,) = await platform.rows("SELECT date_trunc('second', now()) AS first")
        stored = {
            "name": "traced",
            "task_name": "system.health_check",
            "params": "{}",
            "kind": "interval",
            "expression": "1 h",
            "starts_at": clock["first"] - timedelta(hours=1),
            "next_fire_time": clock["first"],
        }
        assert await schedules.insert(platform.database, stored)
        (task,) = await eventually(lambda: platform.rows("SELECT id FROM task WHERE schedule = 'traced'"))
    (attempt,) = await traced.attempts(task["id"])
    ((_, span_id),) = attempt.links
    send = await traced.span(span_id)
    firing = await traced.above(send)
    assert (firing.service, firing.name, firing.parent, attempt.parent) == (
        "often-scheduler",
        "fire traced",
        "",
        "",
    )


async def test_log_lines_and_exemplars_lead_to_the_trace(traced: Traced) -> None:
    async with traced.crew.platform() as platform:
        (task_id,) = await submit(platform, TALK, Nothing(), trace_context=TRACEPARENT)
        await row_of(platform, task_id)
        plain = (await platform.submit(TALK, Nothing()))[0]
        await row_of(platform, plain)
    log = next(traced.logs.glob("*-sample_worker.log"))
    lines = [json.loads(line) for line in log.read_text().splitlines() if "half way" in line]
    assert [(line.get("trace_id"), line.get("task_id")) for line in lines] == [
        (CALLER[0], str(task_id)),
        (None, str(plain)),
    ]
    async with httpx.AsyncClient(trust_env=False, headers=OPENMETRICS) as client:
        exposed = (await client.get(traced.metrics_url)).text
    exemplar = f'# {{task_id="{task_id}",trace_id="{CALLER[0]}"}}'
    found = {line.partition("_bucket{")[0] for line in exposed.splitlines() if exemplar in line}
    assert found == {"often_task_wait_seconds", "often_task_run_seconds"}


async def test_without_a_collector_tasks_run_spans_are_dropped_and_processes_stop_in_time(
    platform: Platform,
) -> None:
    """The processes export to a server that accepts connections and never answers."""
    port = pick("metrics")["metrics"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = Collector(silent.getsockname()[1]).environment | {
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        }
        worker = platform.start("tests.sample_worker", **environment, OFTEN_METRICS_PORT=str(port))
        api = Api(platform)
        await api.start(**environment)
        ids = await submit(platform, INSTANT, Nothing(), trace_context=TRACEPARENT, count=100)
        assert {row["status"] for row in await platform.all_final(ids)} == {"success"}

        async def dropped() -> bool:
            scraped = await platform.metrics(port)
            reasons = ("queue_full", "not_taken")
            return all(scraped[f"often_trace_spans_dropped_total['{reason}']"] for reason in reasons)

        await eventually(dropped)
        # The spans that follow cannot be sent any more, because the processes stop too soon.
        (last,) = await submit(platform, INSTANT, Nothing(), trace_context=TRACEPARENT)
        await platform.until(last, "success")
        async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
            assert (await client.get("/")).is_success
        for process in (worker, api.process):
            process.terminate()
        for process in (worker, api.process):
            assert await asyncio.to_thread(process.wait, 15) == 0
            assert "the last spans were not sent" in platform.log_of(process)
