"""Follows up on records that were committed to Postgres.

It acknowledges ids in Redis, publishes changes, pushes tasks that may start, and forgets claims.
"""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from services.worker.recording.record import Child, Entry, Written, batched
from services.worker.running.fingerprint import Cause
from services.worker.running.outcome import Outcome
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement
from shared.ledger.tally import OUTCOMES, Errors, Tally
from shared.ledger.transitions.record import ALREADY_RECORDED
from shared.ledger.transitions.send import MARK_SENT, UNCLAIMED_TO_POSTGRES
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Address, Queues

log = logging.getLogger(__name__)

#: Reads how many seconds ago the cancellation of these tasks was requested.
CANCELLED_SINCE = Statement("""
    SELECT id, extract(epoch FROM clock_timestamp() - cancel_requested_at)::float8 AS seconds
    FROM task WHERE id = ANY(:id::uuid[]) AND cancel_requested_at IS NOT NULL
""")


class Settlement:
    """Carries out the steps that follow each committed round, on the ledger event loop.

    If a server is unavailable, steps are left out. Nothing is lost by that, only delayed, because
    other processes repeat these steps later.
    """

    def __init__(
        self,
        worker: UUID,
        claims: Claims,
        database: Database,
        queues: Queues,
        tally: Tally,
        *,
        advance: Callable[[Collection[UUID]], None] = lambda workflows: None,
    ) -> None:
        """`advance` is called after the commit, with the ids of the workflows whose tasks have
        ended.

        `tally` counts the ended tasks for the statistics.
        """
        self._advance = advance
        self._tally = tally
        self._worker = worker
        self._claims = claims
        self._database = database
        self._queues = queues
        self._publisher = Publisher(queues)
        #: Number of records that Postgres refused because their claim was already over.
        self.refused = 0

    async def settle(self, entries: Sequence[Entry], written: Written) -> None:
        """Carry out the steps that follow the commit of a round."""
        ended = [entry for entry in entries if entry.released]
        try:
            earlier = await self._already_recorded(entries, written)
            recorded = written | (earlier or {})
            self._count(entries, written, recorded, checked=earlier is not None)
            self._follow_up([entry for entry in ended if entry.attempt in recorded])
            await self._send(entries, ended, written, recorded)
        finally:
            # Claims have to be forgotten even after an unexpected error. Otherwise, they would
            # count toward the tasks that this worker holds and keep it from taking others.
            self._claims.forget(entry.attempt for entry in ended)
        await self._time_cancels([entry for entry in ended if entry.attempt in recorded])

    def _follow_up(self, ended: Sequence[Entry]) -> None:
        """Count the outcomes of ended tasks in the statistics, and advance the workflows of these
        tasks.
        """
        for entry in ended:
            self._add_up(entry)
        workflows = {entry.attempt.claim.workflow for entry in ended}
        self._advance({workflow for workflow in workflows if workflow is not None})

    async def _send(
        self, entries: Sequence[Entry], ended: Sequence[Entry], written: Written, recorded: Written
    ) -> None:
        """Acknowledge ended tasks, publish changes, and push tasks that may start."""
        attempts = [entry.attempt for entry in ended]
        try:
            ids = [attempt.id for attempt in attempts]
            await self._publisher.acknowledge(self._worker, ids, lambda: _changes(entries, recorded))
            # Claims are forgotten before ids are pushed. If this worker fetches such an id again
            # immediately, it must not believe that it still holds the task.
            await self._send_again(self._claims.forget(attempts))
            await self._push(_given_back(ended, written), _children_to_push(entries, recorded))
        except ServerUnavailable as error:
            log.warning("%s; ready tasks were not pushed, the dispatcher sends them", error)

    async def _already_recorded(self, entries: Sequence[Entry], written: Written) -> Written | None:
        """Find the attempts that this round did not write because their outcome was already
        recorded. Returns None if Postgres cannot say it.

        A task body that calls `complete_in` records its outcome itself. A start or progress that
        was noted before that call may be written only after it. The response to an earlier try of
        the round may also have been lost after its commit.
        """
        unwritten = {e.attempt.id: e.attempt for e in entries if e.row is not None}
        for attempt in written:
            unwritten.pop(attempt.id, None)
        if not unwritten:
            return {}
        numbers = [attempt.claim.number for attempt in unwritten.values()]
        try:
            rows = await self._database.run(ALREADY_RECORDED, id=list(unwritten), claim=numbers)
        except ServerUnavailable as error:
            log.warning(
                "%d records changed nothing, and it is unknown whether they were stored before or came too "
                "late: %s",
                len(unwritten),
                error,
            )
            return None
        return {unwritten[row["id"]]: row for row in rows}

    def _count(self, entries: Sequence[Entry], written: Written, recorded: Written, *, checked: bool) -> None:
        others = sum(1 for e in entries if e.row is not None) - len(recorded)
        refused = others if checked else 0
        metrics.RECORDED.labels("written").inc(len(written))
        metrics.RECORDED.labels("already_mine").inc(len(recorded) - len(written))
        metrics.RECORDED.labels("refused").inc(refused)
        metrics.RECORDED.labels("unknown").inc(others - refused)
        self.refused += refused
        if refused:
            log.warning(
                "%d records came too late and were dropped, because other claims own their tasks now", refused
            )

    def _add_up(self, entry: Entry) -> None:
        """Add one ended attempt to the statistics."""
        outcome, row, claim = entry.outcome, entry.row, entry.attempt.claim
        if outcome is None or row is None or outcome.label not in OUTCOMES:
            return
        wait_s = None
        if row.started_at is not None:
            wait_s = max(0.0, (row.started_at - claim.ready_at).total_seconds())
        self._tally.add(claim.queue, claim.name, outcome.label, wait_s, row.execution_s)
        if outcome.failure is not None and outcome.failure.cause is not None:
            self._tally.add_error(_errors(entry.attempt, outcome, outcome.failure.cause))

    async def _send_again(self, ids: list[UUID]) -> None:
        """Make tasks due again that were fetched a second time while this worker held them.

        Acknowledging has removed their ids from Redis, so the dispatcher has to push them again.
        """
        if ids:
            await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(ids))

    async def _push(self, back: Iterable[Attempt], children: Iterable[Child]) -> None:
        """Push child tasks, and tasks that were given back for another worker. Then mark all as
        sent.
        """
        addresses = [
            (Address(a.id, a.queue, a.claim.priority, rescued=_is_suspect(a)), a.claim.number) for a in back
        ]
        addresses += [(Address(c.id, c.contract.queue, c.priority), 0) for c in children]
        for share in batched(addresses):
            await self._queues.push([address for address, _ in share])
            ids, numbers = zip(*sorted((address.id, number) for address, number in share), strict=True)
            await self._database.run(MARK_SENT, id=list(ids), claim=list(numbers))

    async def _time_cancels(self, ended: Sequence[Entry]) -> None:
        """Measure, by Postgres' clock, how long it took to cancel these tasks."""
        steps = {e.attempt.id: step for e in ended if (step := _cancel_step(e)) is not None}
        if not steps:
            return
        with contextlib.suppress(ServerUnavailable):
            for row in await self._database.run(CANCELLED_SINCE, id=sorted(steps)):
                metrics.CANCEL_SECONDS.labels(steps[row["id"]]).observe(row["seconds"])


def _errors(attempt: Attempt, outcome: Outcome, cause: Cause) -> Errors:
    """Describe the error of a failed attempt for the statistics of error groups."""
    assert outcome.failure is not None
    return Errors(
        cause.fingerprint,
        attempt.claim.name,
        outcome.failure.kind,
        cause.type,
        cause.place,
        outcome.failure.message,
        attempt.id,
        attempts=1,
        tasks=int(outcome.status is Status.FAILURE),
    )


def _is_suspect(attempt: Attempt) -> bool:
    """Return True if the task is still suspected of killing its worker.

    The suspicion ends when an attempt ends in this process.
    """
    return attempt.claim.suspect and attempt.started_at is None


def _changes(entries: Sequence[Entry], recorded: Written) -> Changes:
    """Build the message about the changes of a committed round.

    It may announce new log lines although there are none, because log lines of an outdated claim
    were dropped.
    """
    tasks = [_change(attempt, row) for attempt, row in recorded.items()]
    tasks += [_new(child) for child in _stored_children(entries, recorded)]
    return Changes(tasks, logged=[entry.attempt.id for entry in entries if entry.logs])


def _change(attempt: Attempt, row: Mapping[str, Any]) -> TaskChange:
    claim = attempt.claim
    return TaskChange(
        claim.id,
        row["revision"],
        row["status"],
        claim.name,
        claim.queue,
        claim.owner,
        row["progress_current"],
        row["progress_total"],
        row["progress_message"],
        claim.workflow,
        claim.step,
    )


def _new(child: Child) -> TaskChange:
    return TaskChange(child.id, 0, Status.PENDING, child.contract.name, child.contract.queue, child.owner)


def _given_back(ended: Iterable[Entry], written: Written) -> list[Attempt]:
    """Return the attempts that were given back so that another worker can run them immediately."""
    return [e.attempt for e in ended if e.attempt in written and e.row and e.row.wait_s == 0]


def _children_to_push(entries: Iterable[Entry], recorded: Written) -> list[Child]:
    """Return the stored child tasks that may start immediately."""
    return [child for child in _stored_children(entries, recorded) if child.delay is None]


def _stored_children(entries: Iterable[Entry], recorded: Written) -> list[Child]:
    return [c for e in entries for c in (*e.spawned, *(e.ready_children if e.attempt in recorded else ()))]


def _cancel_step(entry: Entry) -> str | None:
    """Return the step of the cancellation at which a canceled task ended, for a metric.

    The steps are: before it started (held), after the body was asked to end (flag), and after it
    was interrupted (interrupt). Returns None if the task was not canceled or has not ended.
    """
    outcome = entry.outcome
    if not entry.attempt.cancel_requested or outcome is None or outcome.wait_s is not None:
        return None
    if entry.attempt.started_at is None:
        return "held"
    return "interrupt" if outcome.status is Status.REVOKED and entry.attempt.interrupted_monotonic else "flag"
