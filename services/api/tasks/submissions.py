"""Turns submission requests into stored tasks.

It checks the caller's rights, the parameters, the recipients and the idempotency keys.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.grouping import Grouping
from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.http.refusals import TaskRestricted
from services.api.identity import accounts
from services.api.identity.rights import Reach, Reader
from services.api.quotas.quotas import Quotas
from services.api.tasks.schemas import NewTaskBody
from shared.contracts import broken_rules
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.errors import FieldProblem, InvalidFields, UnknownTask
from shared.keyed_submission import Keyed, KeyedSubmitter
from shared.ledger.database import Database
from shared.new_task import CheckedTask, NewTask
from shared.submission import OnceKey, Submitter
from shared.vault import Vault

#: Maximum number of broken rules that one error response lists.
MOST_PROBLEMS = 100
LONGEST_KEY = 255
#: Maximum number of recipients that one entry of the audit log lists. A batch may have 10,000.
MOST_RECIPIENTS = 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Submissions:
    """Checks and stores the tasks of all submission routes."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        submitter: Submitter,
        vault: Vault,
        quotas: Quotas,
        secret_key: str,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._submitter = submitter
        self._group = Grouping[CheckedTask, UUID](submitter.submit)
        self._keyed = Grouping[Keyed, tuple[UUID, bool]](KeyedSubmitter(database, submitter).submit)
        self._vault = vault
        self._quotas = quotas
        self._former_key = secret_key.encode()

    def new_task(self, body: NewTaskBody, caller: Reader) -> CheckedTask:
        """Check the body of a submission and build the task. Raises UnknownTask, TaskRestricted or
        InvalidFields.
        """
        contract = self._catalogue.get(body.name)
        task = NewTask(
            contract=contract,
            params=contract.check_params(body.params),
            owner=caller.id,
            priority=body.priority,
            delay=None if body.delay_s is None else timedelta(seconds=body.delay_s),
            # A start time in the past means now. It is replaced by 1970 at the earliest, because a
            # client cannot convert the first day of the year 1 to every time zone.
            run_at=None if body.run_at is None else max(body.run_at, EPOCH),
            expires_at=body.expires_at,
        )
        _check_staff(contract, caller)
        self._quotas.check_priority(task, caller)
        return self._submitter.checked(task)

    async def submit_one(
        self, task: CheckedTask, caller: Reader, once: OnceKey | None, *, sent_as: str | None = None
    ) -> tuple[UUID, bool]:
        """Store one task. Returns its id, and True if it is new.

        `sent_as` is the name under which the request contains the recipient's id, for use in error
        messages.
        """
        recipient = task.recipient
        field = sent_as or f"params.{task.new.contract.recipient}"
        if recipient not in (None, caller.id):
            if caller.reach is not Reach.ALL:
                raise NotAllowed(field, "must be your own id")
            if not await accounts.existing(self._database, [recipient]):
                (task_id,) = await self._stored_or_refused(once, UnknownAccount(field))
                return task_id, False
        (task_id,), is_new = await self._store([task], caller, once)
        return task_id, is_new

    async def submit_batch(
        self, items: Sequence[Any], caller: Reader, once: OnceKey | None
    ) -> tuple[list[UUID], bool]:
        """Store all tasks of a batch, or none of them.

        Raises InvalidFields, which names every invalid item by its index.
        """
        problems: list[FieldProblem] = []
        tasks = []
        for index, item in enumerate(items):
            try:
                tasks.append(self.new_task(_parsed(item), caller))
            except InvalidFields as error:
                problems += _inside(index, error.problems)
            except UnknownTask as error:
                rule = f"must be one of {', '.join(error.known)}"
                problems += _inside(index, [FieldProblem("name", rule)])
            except TaskRestricted as error:
                problems += _inside(index, error.problems)
        if problems:
            raise InvalidFields(_shortened(problems))
        if problems := await self._wrong_recipients(tasks, caller):
            refusal = InvalidFields(_shortened(problems))
            if caller.reach is not Reach.ALL:
                raise refusal
            return await self._stored_or_refused(once, refusal), False
        return await self._store(tasks, caller, once)

    def once(self, header: str | None, caller: Reader, route: str, body: Any) -> OnceKey | None:
        """Build the idempotency key of a submission. Returns None if the request has no such
        header.

        Raises InvalidFields.
        """
        if header is None:
            return None
        if not (0 < len(header) <= LONGEST_KEY and header.isascii() and header.isprintable()):
            rule = f"must be 1 to {LONGEST_KEY} printable ASCII characters"
            raise InvalidFields([FieldProblem("Idempotency-Key", rule)])
        canonical = msgspec.json.encode([route, body], order="deterministic")
        current, *others = self._vault.digests(canonical)
        # Release 0.2 computed the digests of requests with SECRET_KEY. Such a digest is accepted
        # too, because a client may repeat a request that it sent before the upgrade. Idempotency
        # keys expire after a day, so this case can be removed one day after the upgrade.
        former = (*others, hmac.digest(self._former_key, canonical, "sha256"))
        return OnceKey(f"owner:{caller.id}", header, current, former)

    async def _wrong_recipients(self, tasks: Sequence[CheckedTask], caller: Reader) -> list[FieldProblem]:
        others = {r for task in tasks if (r := task.recipient) not in (None, caller.id)}
        if not others:
            return []
        reaches_all = caller.reach is Reach.ALL
        wrong = others - await accounts.existing(self._database, others) if reaches_all else others
        rule = "names no account" if reaches_all else "must be your own id"
        return [
            FieldProblem(f"tasks[{index}].params.{task.new.contract.recipient}", rule)
            for index, task in enumerate(tasks)
            if task.recipient in wrong
        ]

    async def _store(
        self, tasks: Sequence[CheckedTask], caller: Reader, once: OnceKey | None
    ) -> tuple[list[UUID], bool]:
        """Store the tasks if the caller's quotas allow it.

        Repeating a submission with the same idempotency key uses no quota.
        """
        contracts = [task.new.contract for task in tasks]
        if once is None:
            refuse_without_key(contracts)
        return await self._quotas.counted(
            caller,
            [contract.quota for contract in contracts],
            field="tasks" if len(tasks) > 1 else "name",
            store=lambda: self._write(tasks, caller, once),
            stored_before=lambda: self._stored_before(once),
        )

    async def _stored_or_refused(self, once: OnceKey | None, refusal: Exception) -> list[UUID]:
        """Return the task ids that an earlier submission stored under the same idempotency key.

        At that time, the recipients still existed. Raises `refusal` if there was no earlier
        submission.
        """
        if (first := await self._stored_before(once)) is None:
            raise refusal
        return first

    async def _stored_before(self, once: OnceKey | None) -> list[UUID] | None:
        """Return the ids stored under this idempotency key.

        Returns None if the request has no key, or nothing was stored under it.
        """
        return None if once is None else await self._submitter.submitted_under(once)

    async def _write(
        self, tasks: Sequence[CheckedTask], caller: Reader, once: OnceKey | None
    ) -> tuple[list[UUID], bool]:
        if caller.is_staff and (recorded := [task for task in tasks if _is_recorded(task, caller)]):
            return await self._store_recorded(tasks, recorded, caller, once)
        if len(tasks) == 1:
            with self._submitter.traced(tasks) as (task,):
                task_id, is_new = await self._join(task, once)
                return [task_id], is_new
        if once is None:
            return await self._submitter.submit(tasks), True
        return await self._submitter.submit_once(tasks, once)

    async def _join(self, task: CheckedTask, once: OnceKey | None) -> tuple[UUID, bool]:
        """Store one task. Requests that arrive at the same time share one transaction."""
        if once is None:
            return await self._group.join(task), True
        return await self._keyed.join(Keyed(task, once))

    async def _store_recorded(
        self,
        tasks: Sequence[CheckedTask],
        recorded: Sequence[CheckedTask],
        caller: Reader,
        once: OnceKey | None,
    ) -> tuple[list[UUID], bool]:
        """Store the tasks together with one entry in the audit log.

        Such submissions are rare, so they do not share a transaction with other requests.
        """
        async with self._submitter.short_transaction():
            if once is None:
                ids, is_new = await self._submitter.submit(tasks), True
            else:
                ids, is_new = await self._submitter.submit_once(tasks, once)
            if is_new:
                target, after = Target("task", ids[tasks.index(recorded[0])]), _summary(recorded)
                actor = caller.describe()
                await trail.record(self._database, actor, Action.TASK_SUBMITTED, target, after=after)
            return ids, is_new


def refuse_without_key(contracts: Iterable[Contract[Any, Any]]) -> None:
    """Refuse the submission if any of these contracts requires an idempotency key. Raises
    InvalidFields.

    Tasks of such contracts must not be stored twice if a client repeats a request whose response
    was lost.
    """
    names = sorted({contract.name for contract in contracts if contract.needs_key})
    if names:
        rule = (
            f"is required for {', '.join(names)}: choose a new one for each submission, and send it "
            "again with a retry"
        )
        raise InvalidFields([FieldProblem("Idempotency-Key", rule)])


def _check_staff(contract: Contract[Any, Any], caller: Reader) -> None:
    if contract.staff_only and not caller.is_staff:
        raise TaskRestricted(contract.name)


def _is_recorded(task: CheckedTask, caller: Reader) -> bool:
    """Return True if the submission of this task has to be recorded in the audit log.

    That is the case if an ordinary user could not have submitted it, or not for this recipient.
    """
    return task.new.contract.staff_only or task.recipient not in (None, caller.id)


def _summary(tasks: Sequence[CheckedTask]) -> dict[str, Any]:
    """Summarize the tasks of one request for an entry in the audit log."""
    recipients = sorted({recipient for task in tasks if (recipient := task.recipient) is not None})
    return {
        "tasks": len(tasks),
        "names": sorted({task.new.contract.name for task in tasks}),
        "recipients": recipients[:MOST_RECIPIENTS],
    }


def _parsed(item: Any) -> NewTaskBody:
    try:
        return msgspec.convert(item, NewTaskBody)
    except msgspec.ValidationError:
        raise InvalidFields(broken_rules.find(item, NewTaskBody, "")) from None


def _inside(index: int, problems: Iterable[FieldProblem]) -> Iterator[FieldProblem]:
    for problem in problems:
        yield FieldProblem(f"tasks[{index}].{problem.field}".rstrip("."), problem.rule)


def _shortened(problems: list[FieldProblem]) -> list[FieldProblem]:
    more = len(problems) - MOST_PROBLEMS
    rest = [FieldProblem("tasks", f"and {more} more broken rules")] if more > 0 else []
    return [*problems[:MOST_PROBLEMS], *rest]
