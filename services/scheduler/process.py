"""A scheduler process: it takes part in the election of a leader, and runs the background services
while it leads.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import REGISTRY

from services.scheduler import (
    cleaner,
    dispatcher,
    error_gauges,
    expirer,
    indexer,
    lane_check,
    leader,
    parked_gauges,
    partition_gauges,
    partitioner,
    queue_gauges,
    rescuer,
    resender,
    schedule_gauges,
    servers,
    statistics,
    timetable,
    worker_gauges,
    workflow_gauges,
    workflow_repair,
    workflows,
)
from services.scheduler.index_cursor import IndexCursor
from services.scheduler.leader_gauges import LeaderGauges
from shared import applications, system
from shared.contracts import catalogue
from shared.contracts.catalogue import Catalogue
from shared.errors import ServerUnavailable
from shared.keeper import STALL_S, Keeper
from shared.ledger import tally
from shared.ledger.database import Database
from shared.ledger.schema_check import SchemaCheck
from shared.ledger.tally import Tally
from shared.migration import known
from shared.settings import Settings
from shared.submission import Submitter
from shared.telemetry import metrics
from shared.transport.queues import Queues
from shared.vault import Vault
from shared.workflows import scheduled
from shared.workflows.advancer import Advancer

log = logging.getLogger(__name__)

#: How many seconds a stopping process waits for the current rounds of its background loops.
STOP_TIMEOUT_S = 5.0
#: How many seconds a stopping process then tries to store its last statistics.
FLUSH_S = 1.0


@dataclass(frozen=True, slots=True)
class Service:
    """Background work that only the leading scheduler does. It consists of repeated rounds."""

    name: str
    every_s: float
    #: Runs one round. If it returns True, the next round follows immediately instead of after
    #: `every_s`.
    run_once: Callable[[], Coroutine[Any, Any, bool]]
    #: Seconds after which a round counts as stalled.
    stall_s: float = STALL_S


class SchedulerProcess:
    """A scheduler process that leads or stands by, with all its background loops."""

    def __init__(self, settings: Settings, database: Database, queues: Queues, vault: Vault) -> None:
        self.id: UUID = uuid4()
        self.keeper = Keeper()
        #: Monotonic time at which the next round of each service is due, by the name of the
        #: service.
        self._due: dict[str, float] = {}
        self._ends = ends = Tally(database)
        rescue = rescuer.Rescuer(database, queues, ends, stall_after_s=settings.stall_after.total_seconds())
        resend = resender.Resender(database, queues)
        found = applications.find(settings.applications)
        self.schema = SchemaCheck(database, known.ids(found))
        contracts = catalogue.load(found)
        _expect(contracts)
        submitter = Submitter(database, queues, vault)
        declared = scheduled.load(found, contracts)
        clock = timetable.Timetable(database, submitter, vault, contracts, declared)
        gauges = LeaderGauges(lambda: self.leader.leads)

        def gained() -> None:
            rescue.watch.restart()
            clock.restart()
            sweep.restart()
            due.restart()
            lanes.restart()
            gauges.forget()
            self._due.clear()

        self._database, self._queues = database, queues
        self.leader = leader.Leader(database, self.id, gained=gained)
        self.servers = servers.Servers(database, queues)
        REGISTRY.register(gauges)
        due = IndexCursor()
        lanes = lane_check.LaneCheck(database, queues, contracts.queues)
        queue = queue_gauges.QueueGauges(database, gauges, queues, contracts.queues, due, lanes)
        schedule = schedule_gauges.ScheduleGauges(database, gauges)
        partition = partition_gauges.PartitionGauges(database, gauges)
        parked = parked_gauges.ParkedGauges(database, gauges, due, lanes)
        worker = worker_gauges.WorkerGauges(database, gauges)
        workflow = workflow_gauges.WorkflowGauges(database, gauges)
        error = error_gauges.ErrorGauges(database, gauges)
        repair = workflow_repair.WorkflowRepair(database)
        sweep = workflows.Sweep(database, Advancer(database, queues))
        index = indexer.Indexer(database, partial(self.keeper.turned, "past indexes"))
        clean = cleaner.Cleaner(database, partial(self.keeper.turned, "cleaner"))
        self.services = [
            Service("dispatcher", dispatcher.EVERY_S, dispatcher.Dispatcher(database, queues, due).run_once),
            Service("rescuer", rescuer.EVERY_S, rescue.run_once),
            Service("resender", resender.EVERY_S, resend.run_once),
            Service("lanes", lane_check.EVERY_S, lanes.run_once),
            Service("queue gauges", queue_gauges.EVERY_S, queue.run_once),
            Service("worker gauges", worker_gauges.EVERY_S, worker.run_once),
            Service("error gauges", error_gauges.EVERY_S, error.run_once),
            Service("timetable", timetable.EVERY_S, clock.run_once),
            Service("parked gauges", parked_gauges.EVERY_S, parked.run_once),
            Service("schedule gauges", schedule_gauges.EVERY_S, schedule.run_once),
            Service("workflows", workflows.EVERY_S, sweep.run_once),
            Service("workflow repair", workflow_repair.EVERY_S, repair.run_once),
            Service("workflow gauges", workflow_gauges.EVERY_S, workflow.run_once),
            Service("workflow deadlines", workflows.DEADLINES_EVERY_S, sweep.note_deadlines),
            Service("expirer", expirer.EVERY_S, expirer.Expirer(database, queues, ends).run_once),
            Service("statistics", statistics.EVERY_S, statistics.Statistics(database).run_once),
            Service("partitioner", partitioner.EVERY_S, partitioner.Partitioner(database).run_once),
            Service("partition gauges", partition_gauges.EVERY_S, partition.run_once),
            Service("past indexes", indexer.EVERY_S, index.run_once, indexer.STALL_S),
            Service("cleaner", cleaner.EVERY_S, clean.run_once, cleaner.STALL_S),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then release the lease so that another scheduler can lead."""
        log.info("the scheduler started and stands by", extra={"scheduler_id": str(self.id)})
        loops = [
            self._keep("lease", self._lead, leader.RENEW_S, stop),
            self._keep("servers", self.servers.run_once, servers.EVERY_S, stop),
            self._keep("system", self.join, system.JOIN_EVERY_S, stop),
            # The loop "tally" stores statistics even while this process stands by. The process may
            # have lost the lease before it had stored what it counted as the leader.
            self._keep("tally", self._ends.run_once, tally.EVERY_S, stop),
        ]
        for service in self.services:
            every_s = min(service.every_s, leader.RENEW_S)
            turn = partial(self._turn, service)
            loops.append(self._keep(service.name, turn, every_s, stop, service.stall_s))
        tasks = [asyncio.create_task(loop) for loop in loops]
        await stop.wait()
        # Canceling a loop may have no effect while it waits for Redis, so each loop also checks
        # `stop`.
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
        try:
            await self.leader.release()
        except ServerUnavailable as error:
            log.warning(
                "the leader lease could not be released; another scheduler leads once it has expired: %s",
                error,
            )
        await self._ends.flush(FLUSH_S)

    async def join(self) -> None:
        """Check that this release fits the database schema, and that Postgres and Redis belong to
        the same system.

        Raises Stranger or ServerUnavailable.
        """
        await self.schema.require()
        await system.join(self._database, self._queues)

    async def _lead(self) -> None:
        if self.schema.problem is None:
            await self.leader.run_once()

    def live_problems(self) -> list[str]:
        """Return a problem for each background loop that has stalled.

        The health endpoint calls this from any thread.
        """
        return [f"the background loop '{name}' has stalled" for name in self.keeper.stalled()]

    def ready_problems(self) -> list[str]:
        """Return the reasons why this process can neither lead nor stand by right now.

        The health endpoint calls this from any thread.
        """
        away = [f"{name} {answer}" for name, answer in self.servers.answers.items() if answer != "ok"]
        unfit = [str(self.schema.problem)] if self.schema.problem is not None else []
        return self.live_problems() + away + unfit

    def _keep(
        self,
        name: str,
        run_once: Callable[[], Coroutine[Any, Any, object]],
        every_s: float,
        stop: asyncio.Event,
        stall_s: float = STALL_S,
    ) -> Coroutine[Any, Any, None]:
        return self.keeper.keep(name, run_once, every_s=every_s, stop=stop, stall_s=stall_s)

    async def _turn(self, service: Service) -> bool:
        """Run one round of a service if it is due and this process is the leader."""
        if not self.leader.leads or self._queues.system is None:
            return False
        if time.monotonic() < self._due.get(service.name, 0.0):
            return False
        again = await service.run_once()
        self._due[service.name] = time.monotonic() + (0.0 if again else service.every_s)
        return again


def _expect(contracts: Catalogue) -> None:
    for contract in contracts.by_name.values():
        metrics.expect_rescues(contract.queue, contract.name)
        metrics.expect_submissions(contract.queue, contract.name)
    metrics.expect_sending()
    metrics.expect_workflows()
