"""The resources that all requests share. They are created once, opened when the API starts, and
closed when it stops.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from litestar import Litestar
from litestar.di import Provide
from piccolo.table import Table

from services.api.audit.per_minute import PerMinute
from services.api.audit.refusals import Refusals
from services.api.bulk.bulk_acts import BulkActs
from services.api.bulk.bulk_view import BulkView
from services.api.bulk.tokens import Tokens
from services.api.console.overview_figures import OverviewFigures
from services.api.drain import Drain
from services.api.identity import auth, rate_limits
from services.api.identity.access_tokens import AccessTokens
from services.api.identity.callers import Callers
from services.api.identity.changes import Changes
from services.api.identity.confirmations import Confirmations
from services.api.identity.cookie_sessions import CookieSessions
from services.api.identity.counting import CountingRedis
from services.api.identity.logins import Logins
from services.api.identity.passwords import Passwords
from services.api.identity.rate_limits import RateLimits
from services.api.identity.rights import Rights
from services.api.identity.sessions import Sessions
from services.api.live import viewer
from services.api.live.live import Live
from services.api.operations.error_groups import ErrorGroups
from services.api.operations.health import Health
from services.api.operations.health_facts import HealthFacts
from services.api.operations.queues import QueueControls
from services.api.operations.workers import Workers
from services.api.personal.erasure import Erasures
from services.api.personal.exports import Exports
from services.api.quotas import limits as quota_limits
from services.api.quotas.counters import Counters
from services.api.quotas.quotas import Quotas
from services.api.quotas.waiting import Waiting
from services.api.reads import Reads
from services.api.schedules.backfills import Backfills
from services.api.schedules.schedule_view import ScheduleView
from services.api.schedules.schedules import Schedules
from services.api.tasks.acts import Acts
from services.api.tasks.contract_view import ContractView
from services.api.tasks.edits import Edits
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.statistics import StatisticsView
from services.api.tasks.submissions import Submissions
from services.api.workflows.retries import Retries
from services.api.workflows.submissions import WorkflowSubmissions
from services.api.workflows.view import WorkflowView
from shared import applications, system
from shared.contracts.account_mail import SendAccountMail
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.errors import ServerUnavailable
from shared.keeper import Keeper
from shared.ledger import connections, tally
from shared.ledger.database import Database
from shared.ledger.schema_check import SchemaCheck
from shared.ledger.tables import TABLES
from shared.ledger.tally import Tally
from shared.migration import known
from shared.personal.directory import Directory
from shared.settings import Settings
from shared.submission import MARK_EVERY_S, NOTE_TIME_EVERY_S, Submitter
from shared.telemetry import metrics
from shared.transport.events import Publisher
from shared.transport.queues import Queues, connect
from shared.vault import Vault
from shared.workflows import scheduled
from shared.workflows.submission import WorkflowSubmitter

#: How long a submission waits for Redis to accept the task's id. If Redis does not answer in time,
#: the scheduler's dispatcher pushes the id later.
REDIS_TIMEOUT_S = 1.0
#: Interval at which this process reports the requests that it has admitted to Redis, where all API
#: processes count requests together for the rate limits.
LIMITS_EVERY_S = 1.0
#: Interval at which this process reports the quotas that its callers have used to Redis, where all
#: API processes count quotas together.
QUOTAS_EVERY_S = 1.0
#: Time limit for each step of closing the resources. When closing begins, uvicorn has already given
#: open requests time to finish.
CLOSE_TIMEOUT_S = 0.5


class Resources:
    """Owns the resources that requests share. Creating an instance opens no connection."""

    def __init__(
        self,
        settings: Settings,
        contracts: Catalogue,
        rights: Rights,
        tables: Sequence[type[Table]],
        account_mail: Contract[SendAccountMail, Any] | None,
        directory: Directory,
    ) -> None:
        """Build the resources from the settings and from what the installed applications define.

        `tables` and `directory` come from the applications. `account_mail` is the contract of the
        application that sends mail about accounts; None if no application does. Raises
        SettingsError if a vault key is missing.
        """
        self.settings, self.contracts, self.rights = settings, contracts, rights
        self.vault = Vault.from_setting(settings.vault_keys)
        self.vault.require(contracts.by_name.values())
        self.database = Database.for_service(settings.database_url, "api", planned_once=True)
        self._per_minute = PerMinute()
        self.refusals = Refusals(self.database, self._per_minute)
        self.reads = Reads(settings.database_url, self.database)
        found = applications.find(settings.applications)
        quota_limits.check(settings, found, contracts)
        needed = known.ids(found)
        self.schema = SchemaCheck(self.database, needed)
        self.queues = Queues(connect(settings.redis_url, socket_timeout_s=REDIS_TIMEOUT_S))
        self.submitter = Submitter(self.database, self.queues, self.vault)
        self.keeper = Keeper()
        self.tally = Tally(self.database)
        self.drain = Drain()
        self.passwords = Passwords()
        self.counts = Database.for_service(settings.database_url, "api-quotas", by_index=True)
        self.counting = CountingRedis(settings.redis_url)
        self.quotas = Quotas(
            quota_limits.by_role(settings, found),
            Counters(self.counting),
            Waiting(self.counts),
            self.database.now,
        )
        self._quota_names = quota_limits.names(settings, found)
        self.limits = RateLimits(
            self.counting,
            settings.rate_limit_user,
            settings.rate_limit_address,
            settings.rate_limit_sign_in,
        )
        access = AccessTokens(settings.secret_key, settings.access_token_life)
        self.sessions = Sessions(
            self.database,
            access,
            refresh_life=settings.refresh_token_life,
            life=settings.session_life,
        )
        self.cookie_sessions = CookieSessions(self.database, settings.session_life)
        self.callers = Callers(self.database, access, self.sessions, self.cookie_sessions)
        self.changes = Changes(self.counting, self.queues, self._doubt_callers)
        self.confirmations = Confirmations(self.database, self.submitter, account_mail)
        self.live = Live(
            self.database, self.queues, connect(settings.redis_url), session_life_s=self.sessions.life_s
        )
        self.drain.end_streams = self.live.bus.end
        self._declared = scheduled.load(found, contracts)
        self._tables = [*TABLES, *tables]
        self._directory = directory

    def provided(self) -> dict[str, Provide]:
        """The dependencies that Litestar injects into a route handler by parameter name."""
        database, contracts, vault = self.database, self.contracts, self.vault
        ledger = LedgerView(database, self.reads, contracts, vault)
        view, bulk_view = ScheduleView(database, contracts, vault), BulkView(database)
        controls = QueueControls(database, self.queues, contracts)
        edits = Edits(database, contracts, vault, self.quotas, controls.known)
        publisher = Publisher(self.queues)
        statistics = StatisticsView(self.reads, ledger)
        workers = Workers(database, self.reads, self.queues)
        retries = Retries(database, contracts, vault)
        schedules = Schedules(database, contracts, self.submitter, vault, self.rights, self._declared)
        provided: dict[str, object] = {
            "acts": Acts(database, ledger, self.queues, publisher, self.tally, retries, edits),
            "bulk_acts": BulkActs(
                database, self.reads, contracts, self.submitter, controls, Tokens(self.settings.secret_key)
            ),
            "bulk_view": bulk_view,
            "confirmations": self.confirmations,
            "contracts": ContractView(contracts),
            "cookie_sessions": self.cookie_sessions,
            "database": database,
            "drain": self.drain,
            "keeper": self.keeper,
            "edits": edits,
            "error_groups": ErrorGroups(database, self.reads),
            "erasures": Erasures(database, self.submitter),
            "exports": Exports(self.reads, ledger, view, self._directory),
            "ledger": ledger,
            "live": self.live,
            "logins": Logins(database, self.passwords, self._per_minute),
            "passwords": self.passwords,
            "publisher": publisher,
            "queue_controls": controls,
            "queues": self.queues,
            "quotas": self.quotas,
            "reads": self.reads,
            "retries": retries,
            "rights": self.rights,
            "schema": self.schema,
            "schedules": schedules,
            "backfills": Backfills(database, self.submitter, schedules),
            "sessions": self.sessions,
            "settings": self.settings,
            "system_health": Health(HealthFacts(database, self.reads, self.queues, controls)),
            "tally": self.tally,
            "statistics": statistics,
            "overview_figures": OverviewFigures(statistics, workers, controls, view, bulk_view),
            "submissions": Submissions(
                database, contracts, self.submitter, vault, self.quotas, self.settings.secret_key
            ),
            "view": view,
            "workers": workers,
            "workflow_submissions": WorkflowSubmissions(
                database,
                contracts,
                self.submitter,
                WorkflowSubmitter(database, self.submitter, vault),
                self.quotas,
            ),
            "workflows": WorkflowView(database, self.reads, ledger),
        }
        of_request = {
            "network": rate_limits.caller_network,
            "actor": auth.stranger,
            "viewer": viewer.of,
        }
        return {name: _always(value) for name, value in provided.items()} | {
            name: Provide(value, sync_to_thread=False) for name, value in of_request.items()
        }

    def _doubt_callers(self) -> None:
        """Drop cached sign-ins and check the rights of all live-event viewers again.

        Called when the rights of some account have changed.
        """
        self.callers.forget()
        self.live.bus.in_doubt = True

    @contextlib.asynccontextmanager
    async def serving(self, _: Litestar) -> AsyncIterator[None]:
        """The lifespan of the API: opens the resources, and closes them when the API stops."""
        self.database.bind(self._tables)
        await self.database.open(size=connections.API_POOL)
        await self.reads.open()
        await self.counts.open(size=connections.API_QUOTA_POOL)
        for contract in self.contracts.by_name.values():
            metrics.expect_submissions(contract.queue, contract.name)
        for quota in self._quota_names:
            metrics.expect_quota_refusals(quota)
        metrics.expect_streams()
        loops = [
            self.keeper.keep("marking", self.submitter.mark, every_s=MARK_EVERY_S),
            self.keeper.keep("clock", self.submitter.note_time, every_s=NOTE_TIME_EVERY_S),
            self.keeper.keep("system", self._join, every_s=system.JOIN_EVERY_S),
            self.keeper.keep("callers", self.changes.listen),
            self.keeper.keep("limits", self.limits.settle, every_s=LIMITS_EVERY_S),
            self.keeper.keep("quotas", self.quotas.send, every_s=QUOTAS_EVERY_S),
            self.keeper.keep("tally", self.tally.run_once, every_s=tally.EVERY_S),
            self.keeper.keep("waiting", self.quotas.refresh, every_s=QUOTAS_EVERY_S),
            *self.live.loops(self.keeper),
            # The check for scarce database connections runs in the background while requests are
            # served, because an unavailable Postgres must not delay the API's start.
            self._warn_when_scarce(),
        ]
        tasks = [asyncio.create_task(each) for each in loops]
        try:
            yield
        finally:
            self.live.bus.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _join(self) -> None:
        await self.schema.require()
        await system.join(self.database, self.queues)

    async def _warn_when_scarce(self) -> None:
        # An unavailable server is ignored here: the background loop "system" reports that error
        with contextlib.suppress(ServerUnavailable):
            await self.schema.require()
            await connections.warn_when_scarce(self.database, connections.API)

    async def _close(self) -> None:
        await _briefly(self.submitter.mark())
        await self.tally.flush(CLOSE_TIMEOUT_S)
        # If closing the pool is canceled by its time limit, the pool cuts its connections
        await _briefly(self.database.close())
        await _briefly(self.reads.close())
        await _briefly(self.counts.close())
        await _briefly(self.live.close())
        await _briefly(self.queues.client.aclose())
        await _briefly(self.limits.settle())
        await _briefly(self.quotas.send())
        await _briefly(self.counting.close())
        self.passwords.close()


def _always(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


async def _briefly(closing: Awaitable[object]) -> None:
    with contextlib.suppress(ServerUnavailable, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await closing
