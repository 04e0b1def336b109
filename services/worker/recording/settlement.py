"""What follows the commit of a round: acknowledge, publish, push what is ready, forget the claims."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from services.worker.recording.record import Child, Entry, Written, batched
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement
from shared.ledger.tally import OUTCOMES, Tally
from shared.ledger.transitions.record import ALREADY_RECORDED
from shared.ledger.transitions.send import MARK_SENT, UNCLAIMED_TO_POSTGRES
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Address, Queues

log = logging.getLogger(__name__)

#: How long ago the cancellation of these tasks was requested.
CANCELLED_SINCE = Statement("""
    SELECT id, extract(epoch FROM clock_timestamp() - cancel_requested_at)::float8 AS seconds
    FROM task WHERE id = ANY(:id::uuid[]) AND cancel_requested_at IS NOT NULL
""")


class Settlement:
    """Runs on the ledger loop. A server that is unavailable costs time: others repeat what is left out."""

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
        """`advance` gets the workflows whose tasks have ended, after the commit; `tally` counts the ends."""
        self._advance = advance
        self._tally = tally
        self._worker = worker
        self._claims = claims
        self._database = database
        self._queues = queues
        self._publisher = Publisher(queues)
        #: Records that arrived after their claim was over.
        self.refused = 0

    async def settle(self, entries: Sequence[Entry], written: Written) -> None:
        """Settle a committed round."""
        recorded = written | await self._already_recorded(entries, written)
        self._count(entries, written, recorded)
        ended = [entry for entry in entries if entry.released]
        for entry in ended:
            if entry.attempt in recorded:
                self._add_up(entry)
        workflows = {entry.attempt.claim.workflow for entry in ended if entry.attempt in recorded}
        self._advance({workflow for workflow in workflows if workflow is not None})
        attempts = [entry.attempt for entry in ended]
        try:
            ids = [attempt.id for attempt in attempts]
            await self._publisher.acknowledge(self._worker, ids, lambda: _changes(entries, recorded))
            # Before the push: an id that is fetched again at once must not look as if it were still held.
            await self._send_again(self._claims.forget(attempts))
            await self._push(_given_back(ended, written), _children_to_push(entries, recorded))
        except ServerUnavailable as error:
            log.warning("%s; the dispatcher sends what is due", error)
        finally:
            self._claims.forget(attempts)
        await self._time_cancels([entry for entry in ended if entry.attempt in recorded])

    async def _already_recorded(self, entries: Sequence[Entry], written: Written) -> Written:
        """The attempts that were not written because their outcome is recorded already.

        `complete_in` may have written it before a start or a progress that was noted earlier.
        """
        unwritten = {e.attempt.id: e.attempt for e in entries if e.row is not None}
        for attempt in written:
            unwritten.pop(attempt.id, None)
        if not unwritten:
            return {}
        numbers = [attempt.claim.number for attempt in unwritten.values()]
        try:
            rows = await self._database.run(ALREADY_RECORDED, id=list(unwritten), claim=numbers)
        except ServerUnavailable:
            return {}
        return {unwritten[row["id"]]: row for row in rows}

    def _count(self, entries: Sequence[Entry], written: Written, recorded: Written) -> None:
        refused = sum(1 for e in entries if e.row is not None) - len(recorded)
        metrics.RECORDED.labels("written").inc(len(written))
        metrics.RECORDED.labels("already_mine").inc(len(recorded) - len(written))
        metrics.RECORDED.labels("refused").inc(refused)
        self.refused += refused
        if refused:
            log.warning("%d records arrived too late: another claim owns those tasks", refused)

    def _add_up(self, entry: Entry) -> None:
        """Count an attempt that has ended for the statistics."""
        outcome, row, claim = entry.outcome, entry.row, entry.attempt.claim
        if outcome is None or row is None or outcome.label not in OUTCOMES:
            return
        wait_s = None
        if row.started_at is not None:
            wait_s = max(0.0, (row.started_at - claim.ready_at).total_seconds())
        self._tally.add(claim.queue, claim.name, outcome.label, wait_s, row.execution_s)

    async def _send_again(self, ids: list[UUID]) -> None:
        """Fetched while they were held: what waits for its next attempt goes back to Postgres."""
        if ids:
            await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(ids))

    async def _push(self, back: Iterable[Attempt], children: Iterable[Child]) -> None:
        """Push what was given back for another worker to take, and children; then mark both."""
        addresses = [
            (Address(a.id, a.queue, a.claim.priority, rescued=_is_suspect(a)), a.claim.number) for a in back
        ]
        addresses += [(Address(c.id, c.contract.queue, c.priority), 0) for c in children]
        for share in batched(addresses):
            await self._queues.push([address for address, _ in share])
            ids, numbers = zip(*sorted((address.id, number) for address, number in share), strict=True)
            await self._database.run(MARK_SENT, id=list(ids), claim=list(numbers))

    async def _time_cancels(self, ended: Sequence[Entry]) -> None:
        """Observe how long canceling these tasks took, by the clock of Postgres."""
        steps = {e.attempt.id: step for e in ended if (step := _cancel_step(e)) is not None}
        if not steps:
            return
        with contextlib.suppress(ServerUnavailable):
            for row in await self._database.run(CANCELLED_SINCE, id=sorted(steps)):
                metrics.CANCEL_SECONDS.labels(steps[row["id"]]).observe(row["seconds"])


def _is_suspect(attempt: Attempt) -> bool:
    """Whether the ledger still suspects it: an attempt that ended in this process lifts the suspicion."""
    return attempt.claim.suspect and attempt.started_at is None


def _changes(entries: Sequence[Entry], recorded: Written) -> Changes:
    """What a round has committed. Lines of a claim that is over were dropped, and reading them finds none."""
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
    """Attempts whose task waits for another worker at once."""
    return [e.attempt for e in ended if e.attempt in written and e.row and e.row.wait_s == 0]


def _children_to_push(entries: Iterable[Entry], recorded: Written) -> list[Child]:
    """Stored children that may start now."""
    return [child for child in _stored_children(entries, recorded) if child.delay is None]


def _stored_children(entries: Iterable[Entry], recorded: Written) -> list[Child]:
    return [c for e in entries for c in (*e.spawned, *(e.ready_children if e.attempt in recorded else ()))]


def _cancel_step(entry: Entry) -> str | None:
    """The step that ended a canceled task; None when the task was not canceled or goes on."""
    outcome = entry.outcome
    if not entry.attempt.cancel_requested or outcome is None or outcome.wait_s is not None:
        return None
    if entry.attempt.started_at is None:
        return "held"
    return "interrupt" if outcome.status is Status.REVOKED and entry.attempt.interrupted_monotonic else "flag"
