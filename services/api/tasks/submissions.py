"""Turns requests into stored tasks: rights, parameters, recipients, and idempotency keys."""

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
from shared.submission import CheckedTask, NewTask, OnceKey, Submitter
from shared.vault import Vault

#: Upper bound for the broken rules that one answer lists.
MOST_PROBLEMS = 100
LONGEST_KEY = 255
#: Recipients that a row of the audit log names; a batch may have 10,000.
MOST_RECIPIENTS = 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Submissions:
    """What all routes that submit have in common."""

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
        """The one check of a submission. Raises UnknownTask, TaskRestricted or InvalidFields."""
        contract = self._catalogue.get(body.name)
        task = NewTask(
            contract=contract,
            params=contract.check_params(body.params),
            owner=caller.id,
            priority=body.priority,
            delay=None if body.delay_s is None else timedelta(seconds=body.delay_s),
            # A moment that has passed means now; the driver cannot send the first day of the year 1.
            run_at=None if body.run_at is None else max(body.run_at, EPOCH),
            expires_at=body.expires_at,
        )
        _check_staff(contract, caller)
        self._quotas.check_priority(task, caller)
        return self._submitter.checked(task)

    async def submit_one(
        self, task: CheckedTask, caller: Reader, once: OnceKey | None, *, sent_as: str | None = None
    ) -> tuple[UUID, bool]:
        """The task's id, and whether it is new. `sent_as` is the request's name for the recipient."""
        recipient = task.recipient
        field = sent_as or f"params.{task.new.contract.recipient}"
        if recipient not in (None, caller.id):
            if caller.reach is not Reach.ALL:
                raise NotAllowed(field, "must be your own id")
            if not await accounts.existing(self._database, [recipient]):
                raise UnknownAccount(field)
        (task_id,), is_new = await self._store([task], caller, once)
        return task_id, is_new

    async def submit_batch(
        self, items: Sequence[Any], caller: Reader, once: OnceKey | None
    ) -> tuple[list[UUID], bool]:
        """All or none. Raises InvalidFields, which names every bad item by its index."""
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
        if not problems:
            problems = await self._wrong_recipients(tasks, caller)
        if problems:
            raise InvalidFields(_shortened(problems))
        return await self._store(tasks, caller, once)

    def once(self, header: str | None, caller: Reader, route: str, body: Any) -> OnceKey | None:
        """The submission's key; None without the header. Raises InvalidFields."""
        if header is None:
            return None
        if not (0 < len(header) <= LONGEST_KEY and header.isascii() and header.isprintable()):
            rule = f"must be 1 to {LONGEST_KEY} printable ASCII characters"
            raise InvalidFields([FieldProblem("Idempotency-Key", rule)])
        canonical = msgspec.json.encode([route, body], order="deterministic")
        current, *others = self._vault.digests(canonical)
        # Release 0.2 used SECRET_KEY. Its keys are gone a day after the upgrade; then this can go, too.
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
        """Store what the caller's quotas allow. A repeated submission takes nothing of them."""
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

    async def _stored_before(self, once: OnceKey | None) -> list[UUID] | None:
        """The ids that were stored under this key; None without one."""
        return None if once is None else await self._submitter.submitted_under(once)

    async def _write(
        self, tasks: Sequence[CheckedTask], caller: Reader, once: OnceKey | None
    ) -> tuple[list[UUID], bool]:
        if caller.is_staff and (recorded := [task for task in tasks if _is_recorded(task, caller)]):
            return await self._store_recorded(tasks, recorded, caller, once)
        if once is None and len(tasks) == 1:
            return [await self._group.join(tasks[0])], True
        if once is None:
            return await self._submitter.submit(tasks), True
        if len(tasks) == 1:
            task_id, is_new = await self._keyed.join(Keyed(tasks[0], once))
            return [task_id], is_new
        return await self._submitter.submit_once(tasks, once)

    async def _store_recorded(
        self,
        tasks: Sequence[CheckedTask],
        recorded: Sequence[CheckedTask],
        caller: Reader,
        once: OnceKey | None,
    ) -> tuple[list[UUID], bool]:
        """Store the tasks with one row of the audit log. Without group commit: this is rare."""
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
    """Raises InvalidFields for tasks that must not be stored twice when an answer is lost."""
    names = sorted({contract.name for contract in contracts if contract.needs_key})
    if names:
        rule = f"is required for {', '.join(names)}: choose one for each intention and repeat it with a retry"
        raise InvalidFields([FieldProblem("Idempotency-Key", rule)])


def _check_staff(contract: Contract[Any, Any], caller: Reader) -> None:
    if contract.staff_only and not caller.is_staff:
        raise TaskRestricted(contract.name)


def _is_recorded(task: CheckedTask, caller: Reader) -> bool:
    """True for what a user could not submit, or not for this recipient."""
    return task.new.contract.staff_only or task.recipient not in (None, caller.id)


def _summary(tasks: Sequence[CheckedTask]) -> dict[str, Any]:
    """The recorded tasks of one request; the row's target is the first of them."""
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
