"""Helpers for tests: they start real worker and scheduler processes on a test's own database, and
read its ledger.
"""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared import applications, system
from shared.contracts.contract import Contract, Params
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL
from shared.ledger.statement import Statement
from shared.ledger.tables import TABLES
from shared.new_task import NewTask
from shared.submission import Submitter
from shared.transport.queues import Queues, connect
from shared.vault import Vault
from tests.eventually import eventually
from tests.installed import INSTALLED
from tests.roles import of_module

T = TypeVar("T")

#: Keys for encrypting sensitive fields, for tests only.
VAULT_KEYS = f"test:{base64.b64encode(bytes(range(32))).decode()}"

VAPID_PRIVATE_KEY = base64.urlsafe_b64encode(bytes(range(1, 33))).decode().rstrip("=")

ROOT = Path(__file__).parent.parent
#: Seconds until a process must have started. They allow for a busy machine that starts many at
#: once. If a process ends at its start, the test fails without waiting.
START_LIMIT_S = 120


def kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill processes, even ones that are stopped by SIGSTOP, and wait until they are gone."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(timeout=30)


class Platform:
    """Starts processes, submits tasks, and reads the ledger.

    On exit it kills the processes that it started. It can be entered again after that.
    """

    queues: Queues
    submitter: Submitter

    def __init__(self, database_url: str, redis_url: str, logs: Path) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.processes: list[subprocess.Popen[bytes]] = []
        self._logs = logs
        self.database = Database.for_service(database_url, "test")
        self.vault = Vault.from_setting(VAULT_KEYS)

    async def __aenter__(self) -> Self:
        self.database.bind([*TABLES, *applications.tables(INSTALLED)])
        await self.database.open(size=4)
        self.queues = Queues(connect(self.redis_url))
        self.submitter = Submitter(self.database, self.queues, self.vault)
        await system.join(self.database, self.queues)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        kill(self.processes)
        await self.queues.client.aclose()
        await self.database.close()

    def start(self, module: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start `python -m MODULE` as a process.

        Its log file is in the folder with the test's other files.
        """
        known = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "OFTEN_LOG_FORMAT": "text",
            "OFTEN_VAULT_KEYS": VAULT_KEYS,
            "OFTEN_WORKER_GRACE": "3",
            "OFTEN_API_DRAIN": "0",
        }
        given = {**known, **environment}
        given |= {name: of_module(given[name], module) for name in ("DATABASE_URL", "REDIS_URL")}
        number = len(self.processes)
        with (self._logs / f"{number}-{module.rpartition('.')[2]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**os.environ, **given},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    async def start_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it is registered."""
        process = self.start("tests.sample_worker", **environment)
        await eventually(lambda: self.up(process, lambda: self.worker_of(process)), START_LIMIT_S)
        return process

    async def start_scheduler(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a scheduler, and wait until there is a leader that has filled Redis.

        For about a second after its start, a leader expects late marks of ids that were pushed
        before. What is queued in that time, it sends once more.
        """
        process = self.start("services.scheduler", **environment)
        await eventually(lambda: self.up(process, lambda: self._stands_by(process)), START_LIMIT_S)
        await eventually(lambda: self.up(process, self.has_leader), START_LIMIT_S)
        await eventually(lambda: self.up(process, self.has_settled), START_LIMIT_S)
        return process

    async def _stands_by(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the scheduler runs and serves its metrics, as the leader or as a standby."""
        return "stands by" in self.log_of(process)

    async def up(self, process: subprocess.Popen[bytes], check: Callable[[], Awaitable[T]]) -> T:
        """Return the check's result. Raises AssertionError if the process has ended."""
        assert process.poll() is None, f"it ended at its start:\n{self.log_of(process)}"
        return await check()

    async def metrics(self, port: int) -> dict[str, float]:
        """Scrape the metrics of a process. Returns the values by name and sorted label values."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        return {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        number = self.processes.index(process)
        return next(self._logs.glob(f"{number}-*.log")).read_text()

    async def submit(
        self, contract: Contract[Any, Any], params: Params, *, count: int = 1, **options: Any
    ) -> list[UUID]:
        new = NewTask(contract=contract, params=params, **options)
        ids = await self.submitter.submit([new] * count)
        await self.submitter.mark()
        return ids

    async def worker_of(self, process: subprocess.Popen[bytes]) -> UUID | None:
        """The id of the newest worker that this process registered."""
        rows = await self.rows(
            "SELECT id FROM worker WHERE pid = {} ORDER BY started_at DESC LIMIT 1", process.pid
        )
        return rows[0]["id"] if rows else None

    async def has_leader(self) -> bool:
        return bool(await self.rows("SELECT 1 FROM leader_lease WHERE expires_at > clock_timestamp()"))

    async def has_settled(self) -> bool:
        """Whether the leader has compared the whole ledger with the present Redis, and resent what
        was missing.
        """
        (known,) = await self.rows("SELECT number, run_id, resend_cursor FROM generation")
        same = await self.queues.generation() == known["number"]
        return bool(same and known["run_id"] and known["resend_cursor"] is None)

    async def rows(self, sql: str | Statement, *values: Any, **named: Any) -> list[dict[str, Any]]:
        return await self.database.run(sql, *values, **named)

    async def tasks(self, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """Rows of these tasks, in the order of the tasks' ids."""
        return await self.rows("SELECT * FROM task WHERE id = ANY({}::uuid[]) ORDER BY id", list(ids))

    async def task(self, task_id: UUID) -> dict[str, Any]:
        (row,) = await self.tasks([task_id])
        return row

    async def attempts(self, task_id: UUID) -> list[dict[str, Any]]:
        return await self.rows("SELECT * FROM task_attempt WHERE task_id = {} ORDER BY claim", task_id)

    async def until(self, task_id: UUID, *statuses: str, timeout_s: float = 30) -> dict[str, Any]:
        """Wait until the task has one of these statuses. Returns the task's row."""

        async def reached() -> dict[str, Any] | None:
            row = await self.task(task_id)
            return row if row["status"] in statuses else None

        return await eventually(reached, timeout_s)

    async def all_acknowledged(self, worker: UUID, timeout_s: float = 30) -> None:
        """Wait until the worker's unacked set in Redis is empty.

        An id is removed from it only after the task's outcome is committed.
        """

        async def empty() -> bool:
            return not await self.queues.unacked(worker)

        await eventually(empty, timeout_s)

    async def all_final(self, ids: Sequence[UUID], timeout_s: float = 60) -> list[dict[str, Any]]:
        """Wait until all of these tasks have ended. Returns the tasks' rows."""

        async def ended() -> list[dict[str, Any]] | None:
            rows = await self.tasks(ids)
            return rows if all(row["status"] in FINAL for row in rows) else None

        return await eventually(ended, timeout_s)
