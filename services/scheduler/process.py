"""One scheduler process: takes part in the election and runs the leader's services."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import REGISTRY

from services.scheduler import (
    backlog,
    dispatcher,
    expirer,
    headcount,
    leader,
    partitioner,
    punctuality,
    rescuer,
    resender,
    servers,
    timetable,
)
from services.scheduler.gauges import LeaderGauges
from shared.contracts import catalogue
from shared.contracts.catalogue import Catalogue
from shared.errors import ServerAway
from shared.ledger import engine
from shared.settings import Settings
from shared.submission import Submitter
from shared.telemetry import metrics
from shared.transport.queues import Queues
from shared.vault import Vault

log = logging.getLogger(__name__)

#: Pause after a server did not answer.
AWAY_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Service:
    """Something that only the leader does, again and again."""

    name: str
    every_s: float
    #: One round; True asks for the next one at once.
    run_once: Callable[[], Coroutine[Any, Any, bool]]


class SchedulerProcess:
    """Leader or standby."""

    def __init__(self, settings: Settings, queues: Queues, vault: Vault) -> None:
        self.id: UUID = uuid4()
        rescue = rescuer.Rescuer(queues, stall_after_s=settings.stall_after.total_seconds())
        resend = resender.Resender(queues)
        contracts = catalogue.load()
        _expect(contracts)
        clock = timetable.Timetable(Submitter(queues, vault), vault, contracts)
        gauges = LeaderGauges(lambda: self.leader.leads)

        def gained() -> None:
            rescue.watch.restart()
            clock.restart()
            gauges.forget()

        self.leader = leader.Leader(self.id, gained=gained)
        self.servers = servers.Servers(queues)
        REGISTRY.register(gauges)
        self.services = [
            Service("dispatcher", dispatcher.EVERY_S, dispatcher.Dispatcher(queues).run_once),
            Service("rescuer", rescuer.EVERY_S, rescue.run_once),
            Service("resender", resender.EVERY_S, resend.run_once),
            Service("lanes", resender.LANES_EVERY_S, resend.check_lanes),
            Service("backlog", backlog.EVERY_S, backlog.Backlog(gauges, queues, contracts.queues).run_once),
            Service("headcount", headcount.EVERY_S, headcount.Headcount(gauges).run_once),
            Service("timetable", timetable.EVERY_S, clock.run_once),
            Service("punctuality", punctuality.EVERY_S, punctuality.Punctuality(gauges).run_once),
            Service("expirer", expirer.EVERY_S, expirer.Expirer().run_once),
            Service("partitioner", partitioner.EVERY_S, partitioner.Partitioner().run_once),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then another scheduler may lead at once."""
        log.info("scheduler %s stands by", self.id)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep_leading(stop))]
            tasks += [group.create_task(self._keep_looking(stop))]
            tasks += [group.create_task(self._keep(service, stop)) for service in self.services]
            await stop.wait()
            for task in tasks:
                task.cancel()
        try:
            await self.leader.release()
        except ServerAway:
            log.warning("the lease could not be given up; it passes by itself")

    # A round that is cancelled while it waits for Redis may go on all the same, so each loop looks as well.

    async def _keep_leading(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await engine.in_fresh_context(self.leader.run_once())
            await _sleep(leader.RENEW_S, stop)

    async def _keep_looking(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await engine.in_fresh_context(self.servers.run_once())
            await _sleep(servers.EVERY_S, stop)

    async def _keep(self, service: Service, stop: asyncio.Event) -> None:
        """Run a service while this process leads. Whatever goes wrong is logged, and the next round comes."""
        while not stop.is_set():
            pause = service.every_s
            if not self.leader.leads:
                pause = min(pause, leader.RENEW_S)
            else:
                try:
                    if await engine.in_fresh_context(service.run_once()):
                        pause = 0.0
                except ServerAway as error:
                    log.warning("%s: %s", service.name, error)
                    pause = AWAY_PAUSE_S
                except Exception:
                    log.exception("%s failed; the next round comes", service.name)
                    pause = max(pause, AWAY_PAUSE_S)
            await _sleep(pause, stop)


def _expect(contracts: Catalogue) -> None:
    for contract in contracts.by_name.values():
        metrics.expect_rescues(contract.queue, contract.name)
        metrics.expect_submissions(contract.queue, contract.name)
    metrics.expect_sending()


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """Shorter when `stop` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
