"""The incidents that `make incidents` causes, in this order: processes die, servers fail, tasks
fail, and finally changes that must not raise an alert.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

from shared.new_task import NewTask
from tests import panels
from tests.hostile_tasks import LEAK, Leaks
from tests.incidents import agreement
from tests.incidents.incident import Incident, incident
from tests.incidents.load import add_schedule, repeated
from tests.incidents.system import MODULES, System
from tests.sample_tasks import CRASH, FAIL, INSTANT, STEPS, WAIT, Fails, Nothing, Seconds, Steps

#: Seconds of load before an incident. Some alerts compare a task with its usual duration, which
#: must be known by then.
USUAL_S = 60.0
#: Names of the workers that serve the same queues, and the number of threads of each.
WORKERS, THREADS = ("worker-1", "worker-2"), 8
#: Seconds within which a dashboard panel must have data after a change. That takes two scrapes and
#: the evaluation of a recording rule.
EMPTY_S = 60.0
#: Parameters of a task that runs until it is canceled. It has no usual duration, so it raises no
#: alert about its duration.
FOR_HOURS = Steps(count=10_000, pause_s=5)


async def panels_have_data(system: System) -> str:
    return f"{await panels.all_have_data(system.prometheus, EMPTY_S)} queries of dashboards have data"


@incident("kill -9 of one worker", within_s=60)
@contextlib.asynccontextmanager
async def one_worker_dies(system: System) -> AsyncIterator[None]:
    system.kill("worker-1")
    yield


@incident("all workers of one queue gone", alert="OftenNoWorker", within_s=110, queue="email")
@contextlib.asynccontextmanager
async def queue_without_workers(system: System) -> AsyncIterator[None]:
    with system.down("worker-mail"):
        yield


@incident("no worker at all", alert="OftenNoWorkerAtAll", within_s=110)
@contextlib.asynccontextmanager
async def no_workers(system: System) -> AsyncIterator[None]:
    with system.down("worker-1", "worker-2", "worker-mail"):
        yield


@incident("a worker frozen", alert="OftenNoWorker", within_s=110, check=panels_have_data, queue="email")
@contextlib.asynccontextmanager
async def frozen_worker(system: System) -> AsyncIterator[None]:
    await asyncio.sleep(USUAL_S)
    process = system.process("worker-mail")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@incident("no leader", alert="OftenNoLeader", within_s=110)
@contextlib.asynccontextmanager
async def no_leader(system: System) -> AsyncIterator[None]:
    with system.down("scheduler-1", "scheduler-2"):
        yield


@incident("one of two schedulers gone", alert="OftenNoStandby", within_s=150)
@contextlib.asynccontextmanager
async def no_standby(system: System) -> AsyncIterator[None]:
    with system.down("scheduler-2"):
        yield


@incident("the only API gone", alert="OftenNoApi", within_s=110)
@contextlib.asynccontextmanager
async def no_api(system: System) -> AsyncIterator[None]:
    with system.down("api"):
        yield


@incident("the API up, answers only 500", alert="OftenApiErrors", within_s=110, resolved_s=450)
@contextlib.asynccontextmanager
async def api_errors(system: System) -> AsyncIterator[None]:
    await system.platform.rows("REVOKE SELECT ON account FROM often_api")
    try:
        yield
    finally:
        await system.platform.rows("GRANT SELECT ON account TO often_api")


@incident("the clock of a worker ten minutes slow", alert="OftenClockOff", within_s=110)
@contextlib.asynccontextmanager
async def clock_off(system: System) -> AsyncIterator[None]:
    async with system.changed("worker-mail", module="tests.incidents.wrong_clock"):
        yield


@incident("Redis down", alert="OftenRedisAway", within_s=80)
@contextlib.asynccontextmanager
async def redis_down(system: System) -> AsyncIterator[None]:
    system.servers.valkey.kill()
    try:
        yield
    finally:
        await system.servers.valkey.start()


@incident("Postgres down", alert="OftenPostgresAway", within_s=80)
@contextlib.asynccontextmanager
async def postgres_down(system: System) -> AsyncIterator[None]:
    system.servers.postgres.kill()
    try:
        yield
    finally:
        await system.servers.postgres.start()


@incident("Postgres read-only", alert="OftenLedgerRefuses", within_s=110, resolved_s=200, sqlstate_class="25")
@contextlib.asynccontextmanager
async def postgres_read_only(system: System) -> AsyncIterator[None]:
    system.servers.set_read_only(True)
    try:
        yield
    finally:
        system.servers.set_read_only(False)


@incident(
    "the disk of Postgres full",
    alert="OftenLedgerRefuses",
    within_s=110,
    resolved_s=200,
    small_disk=True,
    sqlstate_class="53",
)
@contextlib.asynccontextmanager
async def disk_full(system: System) -> AsyncIterator[None]:
    with system.servers.disk.filled() as fill:
        async with repeated(lambda: asyncio.to_thread(fill), every_s=0.2):
            yield


@incident(
    "a kind fails 100 % at 1/s",
    alert="OftenTasksFail",
    within_s=180,
    resolved_s=540,
    check=panels_have_data,
    task="sample.fail",
)
@contextlib.asynccontextmanager
async def kind_fails(system: System) -> AsyncIterator[None]:
    await asyncio.sleep(USUAL_S)
    async with repeated(lambda: system.platform.submit(FAIL, Fails(kind="permanent")), every_s=1):
        yield


@incident("one task fails", within_s=90)
@contextlib.asynccontextmanager
async def one_failure(system: System) -> AsyncIterator[None]:
    await system.platform.submit(FAIL, Fails(kind="permanent"))
    yield


@incident("unknown task name", alert="OftenTasksParked", within_s=400, resolved_s=240, task="sample.tomorrow")
@contextlib.asynccontextmanager
async def unknown_name(system: System) -> AsyncIterator[None]:
    # The tasks get an unknown name before a worker can claim them.
    ids = await system.platform.submit(INSTANT, Nothing(), count=20, delay=timedelta(seconds=5))
    await system.platform.rows("UPDATE task SET name = 'sample.tomorrow' WHERE id = ANY({}::uuid[])", ids)
    try:
        yield
    finally:
        await system.platform.rows("UPDATE task SET name = 'sample.instant' WHERE name = 'sample.tomorrow'")


@incident("one body hangs", alert="OftenTaskHangs", within_s=240, task="sample.wait")
@contextlib.asynccontextmanager
async def body_hangs(system: System) -> AsyncIterator[None]:
    await asyncio.sleep(USUAL_S)
    ids = await system.platform.submit(WAIT, Seconds(seconds=3_600))
    async with _canceled_at_the_end(system, ids):
        yield


@contextlib.asynccontextmanager
async def _canceled_at_the_end(system: System, ids: Sequence[UUID]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await system.platform.rows(
            "UPDATE task SET cancel_requested_at = now() WHERE id = ANY({}::uuid[])", list(ids)
        )
        for task_id in ids:
            await system.platform.queues.announce_cancel(task_id)


@incident("all threads of a queue hang", alert="OftenQueueSaturated", within_s=400, queue="default")
@contextlib.asynccontextmanager
async def threads_hang(system: System) -> AsyncIterator[None]:
    ids = await system.platform.submit(STEPS, FOR_HOURS, count=len(WORKERS) * THREADS)
    async with _canceled_at_the_end(system, ids):
        yield


@incident("a task leaks memory", alert="OftenWorkersReplaced", within_s=150, resolved_s=700, reason="memory")
@contextlib.asynccontextmanager
async def memory_leak(system: System) -> AsyncIterator[None]:
    async with (
        system.changed(*WORKERS, OFTEN_WORKER_MAX_MEMORY_MB="200"),
        repeated(lambda: system.platform.submit(LEAK, Leaks(megabytes=20)), every_s=1),
    ):
        yield


@incident(
    "the mail server down",
    alert="OftenAttemptsFail",
    within_s=240,
    resolved_s=420,
    check=panels_have_data,
    task="email.send_welcome",
)
@contextlib.asynccontextmanager
async def no_mail(system: System) -> AsyncIterator[None]:
    await asyncio.sleep(USUAL_S)
    async with system.without_mail():
        yield


@incident("a schedule that only skips", alert="OftenScheduleSkips", within_s=90, schedule="sample.skips")
@contextlib.asynccontextmanager
async def schedule_skips(system: System) -> AsyncIterator[None]:
    ids = await system.platform.submit(STEPS, FOR_HOURS, schedule="sample.skips")
    await add_schedule(system.platform, "sample.skips", every="10 s")
    async with _canceled_at_the_end(system, ids):
        yield


@incident(
    "a poison task kills its workers",
    alert="OftenCrashLoop",
    within_s=240,
    resolved_s=1_000,
    task="sample.crash",
)
@contextlib.asynccontextmanager
async def poison_task(system: System) -> AsyncIterator[None]:
    await system.platform.submit(CRASH, Nothing())
    yield


@incident("50,000 tasks at once", within_s=180)
@contextlib.asynccontextmanager
async def many_at_once(system: System) -> AsyncIterator[None]:
    for _ in range(50):
        await system.platform.submitter.submit([NewTask(contract=INSTANT, params=Nothing())] * 1_000)
    yield


@incident("a rolling restart of everything", within_s=60)
@contextlib.asynccontextmanager
async def rolling_restart(system: System) -> AsyncIterator[None]:
    for name in MODULES:
        await system.restart(name)
    yield


@incident("a start of everything after a power failure", within_s=180)
@contextlib.asynccontextmanager
async def whole_start(system: System) -> AsyncIterator[None]:
    servers = (system.servers.postgres, system.servers.valkey)
    async with system.stopped(*MODULES):
        for server in servers:
            server.kill()
        for server in servers:
            await server.start()
    await system.prometheus.restart()
    yield


@incident("a restart of Prometheus", within_s=120)
@contextlib.asynccontextmanager
async def prometheus_starts_again(system: System) -> AsyncIterator[None]:
    await system.prometheus.restart()
    yield


@incident("a quiet time", within_s=300)
@contextlib.asynccontextmanager
async def quiet(system: System) -> AsyncIterator[None]:
    yield


@incident("two workers restart", within_s=agreement.AFTER_S, check=agreement.compared)
@contextlib.asynccontextmanager
async def two_restarts(system: System) -> AsyncIterator[None]:
    for name in WORKERS:
        await asyncio.sleep(agreement.BEFORE_S)
        await system.restart(name)
    yield


INCIDENTS = {value.name: value for value in vars().copy().values() if isinstance(value, Incident)}
