"""One scheduler process: takes part in the election and runs the leader's services."""

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
    expirer,
    indexer,
    leader,
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
from services.scheduler.leader_gauges import LeaderGauges
from shared import applications, system
from shared.contracts import catalogue
from shared.contracts.catalogue import Catalogue
from shared.errors import ServerUnavailable
from shared.keeper import STALL_S, Keeper
from shared.ledger import tally
from shared.ledger.database import Database, in_fresh_context
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

#: How long a stopping process waits for its rounds to end.
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """Something that only the leader does, again and again."""

    name: str
    every_s: float
    #: One round; True asks for the next one at once.
    run_once: Callable[[], Coroutine[Any, Any, bool]]
    #: A round that takes longer counts as stalled.
    stall_s: float = STALL_S


class SchedulerProcess:
    """Leader or standby."""

    def __init__(self, settings: Settings, database: Database, queues: Queues, vault: Vault) -> None:
        self.id: UUID = uuid4()
        self.keeper = Keeper()
        #: When each of the leader's services is due next, by the monotonic clock.
        self._due: dict[str, float] = {}
        ends = Tally(database)
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
            gauges.forget()
            self._due.clear()

        self._database, self._queues = database, queues
        self.leader = leader.Leader(database, self.id, gained=gained)
        self.servers = servers.Servers(database, queues)
        REGISTRY.register(gauges)
        queue = queue_gauges.QueueGauges(database, gauges, queues, contracts.queues)
        schedule = schedule_gauges.ScheduleGauges(database, gauges)
        partition = partition_gauges.PartitionGauges(database, gauges)
        worker = worker_gauges.WorkerGauges(database, gauges)
        workflow = workflow_gauges.WorkflowGauges(database, gauges)
        repair = workflow_repair.WorkflowRepair(database)
        sweep = workflows.Sweep(database, Advancer(database, queues))
        index = indexer.Indexer(database, partial(self.keeper.turned, "past indexes"))
        clean = cleaner.Cleaner(database, partial(self.keeper.turned, "cleaner"))
        self.services = [
            Service("dispatcher", dispatcher.EVERY_S, dispatcher.Dispatcher(database, queues).run_once),
            Service("rescuer", rescuer.EVERY_S, rescue.run_once),
            Service("resender", resender.EVERY_S, resend.run_once),
            Service("lanes", resender.LANES_EVERY_S, resend.check_lanes),
            Service("queue gauges", queue_gauges.EVERY_S, queue.run_once),
            Service("worker gauges", worker_gauges.EVERY_S, worker.run_once),
            Service("timetable", timetable.EVERY_S, clock.run_once),
            Service("schedule gauges", schedule_gauges.EVERY_S, schedule.run_once),
            Service("workflows", workflows.EVERY_S, sweep.run_once),
            Service("workflow repair", workflow_repair.EVERY_S, repair.run_once),
            Service("workflow gauges", workflow_gauges.EVERY_S, workflow.run_once),
            Service("workflow deadlines", workflows.DEADLINES_EVERY_S, sweep.note_deadlines),
            Service("expirer", expirer.EVERY_S, expirer.Expirer(database, queues, ends).run_once),
            Service("tally", tally.EVERY_S, ends.run_once),
            Service("statistics", statistics.EVERY_S, statistics.Statistics(database).run_once),
            Service("partitioner", partitioner.EVERY_S, partitioner.Partitioner(database).run_once),
            Service("partition gauges", partition_gauges.EVERY_S, partition.run_once),
            Service("past indexes", indexer.EVERY_S, index.run_once, indexer.STALL_S),
            Service("cleaner", cleaner.EVERY_S, clean.run_once, cleaner.STALL_S),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then another scheduler may lead at once."""
        log.info("scheduler %s stands by", self.id)
        loops = [
            self._keep("lease", self._lead, leader.RENEW_S, stop),
            self._keep("servers", self.servers.run_once, servers.EVERY_S, stop),
            self._keep("system", self.join, system.JOIN_EVERY_S, stop),
        ]
        for service in self.services:
            every_s = min(service.every_s, leader.RENEW_S)
            turn = partial(self._turn, service)
            loops.append(self._keep(service.name, turn, every_s, stop, service.stall_s))
        tasks = [asyncio.create_task(loop) for loop in loops]
        await stop.wait()
        # A round that is canceled while it waits for Redis may go on, so each loop looks at `stop` as well.
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
        try:
            await self.leader.release()
        except ServerUnavailable as error:
            log.warning("could not give up the lease, which expires by itself: %s", error)

    async def join(self) -> None:
        """Learn whether this release can work with the database, and to which system it belongs.

        Raises Stranger, or ServerUnavailable.
        """
        await self.schema.require()
        await system.join(self._database, self._queues)

    async def _lead(self) -> None:
        if self.schema.problem is None:
            await self.leader.run_once()

    def live_problems(self) -> list[str]:
        """Background loops that do not turn; asked by the health endpoint, from any thread."""
        return [f"the loop '{name}' does not turn" for name in self.keeper.stalled()]

    def ready_problems(self) -> list[str]:
        """Why this process can neither lead nor stand by right now; asked from any thread."""
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
        async def round_() -> object:
            return await in_fresh_context(run_once())

        return self.keeper.keep(name, round_, every_s=every_s, stop=stop, stall_s=stall_s)

    async def _turn(self, service: Service) -> bool:
        """One round of a service when it is due and this process leads."""
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
