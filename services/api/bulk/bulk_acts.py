"""Previews, starts and stops bulk operations. A worker carries them out, in
`services.worker.operations`.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.bulk import counting, wanted
from services.api.bulk.counting import Count
from services.api.bulk.refusals import BulkEnded, MatchesMoved, TooManyBulkOperations
from services.api.bulk.schemas import BulkAnswer, BulkBody, BulkPreview, BulkSample
from services.api.bulk.tokens import Previewed, Tokens
from services.api.identity import accounts
from services.api.identity.rights import Reader
from services.api.operations.queues import QueueControls
from services.api.reads import Reads
from shared.bulk import statements
from shared.bulk.act import State
from shared.bulk.matches import Matches
from shared.contracts.catalogue import Catalogue
from shared.contracts.operations import BULK, MAX_DURATION, RunBulk
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.ids import first_uuid7, moment_of, uuid7
from shared.ledger.transitions import operate
from shared.new_task import NewTask
from shared.submission import Submitter

#: Maximum number of unfinished bulk operations per account.
MAX_UNFINISHED = 5
#: The rate that a worker reaches if the request sets none, in tasks per second: 100,000 retries
#: took 24 s on two busy cores. Previews estimate the duration with it.
USUAL_RATE = 4_000


class _StartedMeanwhile(Exception):
    """Raised when another request with the same preview token has started the bulk operation in the
    meantime. It rolls back this transaction, including the task that it submitted.
    """


class BulkActs:
    """Previews, starts and stops bulk operations for the routes of the API and the console."""

    def __init__(
        self,
        database: Database,
        reads: Reads,
        catalogue: Catalogue,
        submitter: Submitter,
        controls: QueueControls,
        tokens: Tokens,
    ) -> None:
        self._database = database
        self._reads = reads
        self._catalogue = catalogue
        self._submitter = submitter
        self._controls = controls
        self._tokens = tokens

    async def preview(self, body: BulkBody, reader: Reader) -> BulkPreview:
        """Count the tasks or workflows that the operation would change, and issue the token that
        starts it.

        Raises RoleForbids, InvalidFields, QueueNotFound or ReadTooSlow.
        """
        matches = await self._matches(body, reader)
        # Ask Postgres for the time, because the ids of tasks are created by its clock. This process
        # only estimates that clock, and its estimate may be late by one round trip.
        (clock,) = await self._database.run("SELECT clock_timestamp() AS now")
        now = clock["now"]
        until = first_uuid7(now + timedelta(milliseconds=1))
        found = await counting.count(self._reads, matches, until, now)
        token, expires_at = self._tokens.make(Previewed(uuid7(now), until, found.is_exact), body)
        return BulkPreview(
            matches=found.number,
            exact=found.is_exact,
            sample=[msgspec.convert(row, BulkSample) for row in found.sample],
            until=moment_of(until),
            token=token,
            token_expires_at=expires_at,
            seconds=round(found.number / (body.rate or USUAL_RATE), 1),
        )

    async def start(self, body: BulkBody, reader: Reader) -> tuple[UUID, UUID]:
        """Start a bulk operation and return its id and the id of its task.

        A request that repeats a token gets the ids of the first request. Raises MatchesMoved,
        TooManyBulkOperations, and what `preview` raises.
        """
        if body.token is None or body.expected is None:
            missing = [name for name in ("token", "expected") if getattr(body, name) is None]
            rule = "must be given: send the request with dry_run first, which returns it"
            raise InvalidFields([FieldProblem(name, rule) for name in missing])
        matches = await self._matches(body, reader)
        previewed = self._tokens.read(body.token, body)
        bulk_id = previewed.bulk_id
        if (task_id := await self._started_before(bulk_id, reader)) is not None:
            return bulk_id, task_id
        found = await counting.count(self._reads, matches, previewed.until, self._database.now())
        if found.differs_from(body.expected, was_exact=previewed.is_exact):
            raise MatchesMoved(body.expected, found.number)
        _check_duration(body, found)
        try:
            return bulk_id, await self._store(body, matches, previewed, found, reader)
        except _StartedMeanwhile:
            task_id = await self._started_before(bulk_id, reader)
            assert task_id is not None
            return bulk_id, task_id

    async def _matches(self, body: BulkBody, reader: Reader) -> Matches:
        matches = wanted.read(body, reader, self._catalogue)
        if body.changes is not None and body.changes.queue is not None:
            await self._controls.require(body.changes.queue)
        return matches

    async def _started_before(self, bulk_id: UUID, reader: Reader) -> UUID | None:
        """Return the ids of the bulk operation that this token has already started, if any. Raises
        InvalidFields if another account used the token.
        """
        rows = await self._database.run(statements.STARTED, id=bulk_id)
        if rows and rows[0]["actor"] != reader.id:
            rule = "was used by another account; send the request with dry_run again"
            raise InvalidFields([FieldProblem("token", rule)])
        return rows[0]["task"] if rows else None

    async def _store(
        self, body: BulkBody, matches: Matches, previewed: Previewed, found: Count, reader: Reader
    ) -> UUID:
        """Store the bulk operation, its task and its row of the audit log in one transaction."""
        first, last = matches.id_bounds
        actor = reader.describe()
        async with self._submitter.short_transaction():
            await accounts.lock(self._database, reader.id)
            (row,) = await self._database.run(
                statements.UNFINISHED, actor=reader.id, besides=previewed.bulk_id
            )
            if row["n"] >= MAX_UNFINISHED:
                raise TooManyBulkOperations(MAX_UNFINISHED)
            run = NewTask(contract=BULK, params=RunBulk(bulk_id=previewed.bulk_id), owner=reader.id)
            (task_id,) = await self._submitter.submit([run])
            rows = await self._database.run(
                statements.START,
                id=previewed.bulk_id,
                task=task_id,
                kind=body.kind,
                action=body.action,
                filter=msgspec.json.encode(matches.filter).decode(),
                given=msgspec.json.encode(body.filter).decode(),
                changes=None if body.changes is None else msgspec.json.encode(body.changes).decode(),
                actor=reader.id,
                credential=actor.credential,
                credential_id=actor.credential_id,
                network=actor.network or None,
                request_id=actor.request_id,
                reason=body.reason,
                rate=body.rate,
                expected=found.number,
                exact=found.is_exact,
                until=min(previewed.until, last),
                cursor=UUID(int=max(first.int - 1, 0)),
            )
            if not rows:
                raise _StartedMeanwhile
            after = _shown(body, found) | {"task": task_id}
            target = Target("bulk", previewed.bulk_id)
            await trail.record(
                self._database, actor, Action.BULK_STARTED, target, after=after, reason=body.reason
            )
        return task_id

    async def stop(self, act: BulkAnswer, reader: Reader) -> dict[str, Any] | None:
        """Ask a bulk operation to stop, and cancel its task.

        Returns the row of the canceled task, or None if the task has already ended. Raises
        BulkEnded.
        """
        if act.state in (State.COMPLETED, State.STOPPED, State.FORBIDDEN):
            raise BulkEnded(act.id)
        async with self._database.short_transaction():
            if not await self._database.run(statements.STOP, id=act.id):
                raise BulkEnded(act.id)
            rows = await self._database.run(operate.CANCEL, id=act.task_id)
            before = {"state": act.state, "done": act.done}
            await trail.record(
                self._database,
                reader.describe(),
                Action.BULK_STOPPED,
                Target("bulk", act.id),
                before=before,
            )
        return rows[0] if rows else None


def _check_duration(body: BulkBody, found: Count) -> None:
    """Refuse a requested rate that is so low that the operation would take too long. Raises
    InvalidFields.
    """
    if body.rate is not None and found.number / body.rate > MAX_DURATION.total_seconds():
        hours = MAX_DURATION.total_seconds() / 3600
        rule = f"must be so high that the operation takes at most {hours:.0f} hours"
        raise InvalidFields([FieldProblem("rate", rule)])


def _shown(body: BulkBody, found: Count) -> dict[str, Any]:
    """The operation's filter, as the audit log records it. For values that may identify a person,
    the log only gets the information that they were set.
    """
    fields = msgspec.to_builtins(body.filter)
    given = {name: value for name, value in fields.items() if value not in (None, {})}
    if "error" in given:
        given["error"] = "[given]"
    if "params" in given:
        given["params"] = sorted(given["params"])
    return {
        "kind": body.kind,
        "action": body.action,
        "filter": given,
        "changes": msgspec.to_builtins(body.changes),
        "rate": body.rate,
        "matches": found.number,
        "exact": found.is_exact,
    }
