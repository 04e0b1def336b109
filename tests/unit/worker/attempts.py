"""A running attempt for unit tests, with the parts of a worker that it uses.

Nothing connects to a server.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.message import Message

from services.worker.claims.claim import Attempt, Stage
from services.worker.claims.claims import Claims
from services.worker.recording.inbox import Inbox
from services.worker.running.context import Context, Means
from services.worker.running.lifecycle import Lifecycle
from services.worker.running.outcome import Outcome
from shared.contracts.contract import Contract
from shared.ledger.database import Database
from shared.vault import Vault
from tests.sample_tasks import TASKS, Done, Fails
from tests.unit.worker.test_claims import held


@dataclass
class Running:
    """A running attempt of a task, and the parts of a worker that it uses."""

    attempt: Attempt
    claims: Claims
    inbox: Inbox
    means: Means

    @classmethod
    def of(cls, contract: Contract[Fails, Done]) -> "Running":
        database = Database.for_service("postgres://nobody@127.0.0.1:1/nowhere", "test")
        inbox = Inbox(database)
        claims = Claims(threads=1)
        claims.add([held(name=contract.name)])
        attempt = claims.take(0)
        assert attempt is not None
        attempt.number, attempt.started_at = 1, datetime.now(UTC)
        no_starts: Any = None
        means = Means(uuid4(), inbox, database, database, {}, Vault(), no_starts)
        attempt.context = Context(attempt, contract, means)
        return cls(attempt, claims, inbox, means)

    @property
    def context(self) -> Context:
        assert isinstance(self.attempt.context, Context)
        return self.attempt.context

    def end(self, *, returned: Done | None = None, error: BaseException | None = None) -> Outcome:
        """End the body as if it had returned this value or raised this error.

        Returns the attempt's outcome.
        """
        self.attempt.returned, self.attempt.error = returned, error
        lifecycle = Lifecycle(self.inbox, TASKS, self.means.ledger, self.means.vault)
        lifecycle.after_process_message(StubBroker(), message_of(self.attempt))
        assert self.attempt.outcome is not None
        return self.attempt.outcome

    def ended(self) -> None:
        """End the attempt's claim in this process, and check that the attempt then counts
        as ended.
        """
        assert self.claims.begin_end(self.attempt)
        self.claims.end(self.attempt)
        assert self.attempt.stage is Stage.ENDED


def message_of(attempt: Attempt) -> MessageProxy:
    """A Dramatiq message for the attempt, as the worker's broker delivers it."""
    return MessageProxy(Message("often", attempt.name, (attempt,), {}, {}))
