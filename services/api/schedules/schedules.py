"""Creates, changes, removes and fires schedules at the request of operators.

Regular firings, when a schedule is due, are done by the scheduler process.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.identity import accounts
from services.api.identity.rights import Reach, Reader, Rights
from services.api.schedules.refusals import (
    ScheduleDeclared,
    ScheduleExists,
    ScheduleJustFired,
    ScheduleNotFound,
    ScheduleStillRunning,
)
from services.api.schedules.schemas import NewScheduleBody, ScheduleChange
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract, Params
from shared.contracts.schedule import NAME
from shared.errors import FieldProblem, InvalidFields, UnknownTask
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.schedules import firing as scheduling
from shared.schedules import statements as schedules
from shared.schedules.firing import Firing, TaskToFire, Work
from shared.schedules.timetable import Misfire
from shared.submission import Submitter
from shared.vault import Vault
from shared.workflows.scheduled import Schedules as Declared

Found = TypeVar("Found")

#: Names that a schedule cannot have, because they would collide with a route: `/schedules/preview`.
RESERVED = frozenset({"preview"})
OVERLAPS = ("allow", "skip")

_REMOVE = Statement("DELETE FROM schedule WHERE name = :name")


class Fired(NamedTuple):
    """The task or workflow that was submitted when an operator fired a schedule."""

    id: UUID
    #: True if a task was submitted; False if a workflow was submitted.
    is_task: bool


class Schedules:
    """Carries out the requests of the schedule routes."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        submitter: Submitter,
        vault: Vault,
        rights: Rights,
        workflows: Declared,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._submitter = submitter
        self._vault = vault
        self._rights = rights
        self.firing = Firing(database, submitter, vault, catalogue, workflows)

    async def make(self, body: NewScheduleBody, caller: Reader) -> None:
        """Create a schedule.

        Raises InvalidFields, NotAllowed, UnknownAccount or ScheduleExists.
        """
        _check_name(body.name)
        _check_policies(body.misfire, body.overlap)
        contract = _known(lambda: self._catalogue.get(body.task_name))
        params = contract.check_params(body.params)
        await self.check_recipient(contract, params, caller)
        columns: dict[str, Any] = msgspec.structs.asdict(body)
        reason = columns.pop("reason")
        columns["params"] = scheduling.encode_params(self._vault, contract, params, body.name, caller.id)
        async with self._database.short_transaction():
            (clock,) = await self._database.run("SELECT now() AS now")
            scheduling.timing_of(columns).check(clock["now"])
            columns |= {"owner": caller.id, **_started(columns, clock["now"])}
            if not body.enabled:
                columns |= {"paused_at": clock["now"], "paused_by": caller.id}
            if not await schedules.insert(self._database, columns):
                raise ScheduleExists(body.name)
            await self._record(Action.SCHEDULE_MADE, body.name, caller, after=_shown(columns), reason=reason)

    async def change(self, name: str, wanted: ScheduleChange, caller: Reader) -> None:
        """Change the fields that the request contains.

        Raises ScheduleNotFound, InvalidFields, NotAllowed or UnknownAccount.
        """
        given = {k: v for k, v in msgspec.structs.asdict(wanted).items() if v is not msgspec.UNSET}
        reason = given.pop("reason", None)
        if not given:
            raise InvalidFields([FieldProblem("", "must give at least one field to change")])
        async with self._database.short_transaction():
            row = await self.locked(name)
            merged = row | given
            _check_policies(merged["misfire"], merged["overlap"])
            if "params" in given:
                contract = self._contract_of_params(row)
                params = contract.check_params(given["params"])
                await self.check_recipient(contract, params, caller)
                given["params"] = scheduling.encode_params(self._vault, contract, params, name, row["owner"])
            elif wanted.enabled is True:
                self.work_of(row)
            await schedules.change(self._database, name, given | _consequences(row, given, caller))
            before, after = _shown({field: row[field] for field in given}), _shown(given)
            if "params" in given:
                after["params"] = "changed"
            await self._record(
                Action.SCHEDULE_CHANGED, name, caller, before=before, after=after, reason=reason
            )

    async def remove(self, name: str, caller: Reader) -> None:
        """Remove a schedule. Raises ScheduleNotFound or ScheduleDeclared."""
        async with self._database.short_transaction():
            row = await self.locked(name)
            if row["source"] == "contract":
                raise ScheduleDeclared(name)
            await self._database.run(_REMOVE, name=name)
            before = _shown(
                {field: row[field] for field in NewScheduleBody.__struct_fields__ if field in row}
            )
            await self._record(Action.SCHEDULE_REMOVED, name, caller, before=before)

    async def fire(self, name: str, caller: Reader) -> Fired:
        """Submit the schedule's task or workflow now, with the current second as its nominal time.

        Raises ScheduleNotFound, InvalidFields, ScheduleStillRunning or ScheduleJustFired.
        """
        async with self._submitter.short_transaction():
            row = await self.locked(name)
            work = self.work_of(row)
            if isinstance(work, TaskToFire):
                await self.check_recipient(work.contract, work.params, caller)
            if row["overlap"] == "skip" and (running := await self.firing.unfinished(row)):
                raise ScheduleStillRunning(running.kind, running.id)
            second = row["now"].replace(microsecond=0)
            fired = await self.firing.fire(row, work, [second], by=caller.id)
            if not fired:
                raise ScheduleJustFired
            moments = {"next_fire_time": row["next_fire_time"], "last_fire_time": second}
            await self._database.run(schedules.ADVANCE, name=name, **moments)
            is_task = isinstance(work, TaskToFire)
            after = {"task": fired[second], "task_name": row["task_name"]}
            if not is_task:
                after = {"workflow": fired[second], "name": row["workflow"]}
            await self._record(Action.SCHEDULE_FIRED, name, caller, after=after)
            return Fired(fired[second], is_task)

    async def _record(self, action: Action, name: str, caller: Reader, **values: Any) -> None:
        """Record an action on a schedule in the audit log.

        `values` are passed to `trail.record`.
        """
        await trail.record(self._database, caller.describe(), action, Target("schedule", name), **values)

    async def locked(self, name: str) -> dict[str, Any]:
        """Read the schedule's row and lock it until the transaction ends.

        Raises ScheduleNotFound.
        """
        rows = await self._database.run(schedules.LOCK, name=name) if NAME.fullmatch(name) else []
        if not rows:
            raise ScheduleNotFound(name)
        return rows[0]

    def work_of(self, row: Mapping[str, Any]) -> Work:
        """Build the task or workflow that the schedule would submit if it fired now.

        Raises InvalidFields or VaultError.
        """
        return _known(lambda: self.firing.work_of(row))

    def _contract_of_params(self, row: Mapping[str, Any]) -> Contract[Any, Any]:
        """Return the contract by which new parameters of this schedule are checked.

        Raises InvalidFields if the task is unknown, or if the schedule starts a workflow, which has
        no parameters to change.
        """
        if row["workflow"] is not None:
            rule = "must be left out: the code that declares the schedule builds its workflow"
            raise InvalidFields([FieldProblem("params", rule)])
        return _known(lambda: self._catalogue.get_stored(row["task_name"]))

    async def check_recipient(self, contract: Contract[Any, Any], params: Params, caller: Reader) -> None:
        """Check that the caller may submit a task for the account that the parameters name.

        Raises NotAllowed or UnknownAccount.
        """
        recipient = contract.recipient_of(params)
        if recipient in (None, caller.id):
            return
        field = f"params.{contract.recipient}"
        if self._rights.entries["POST /api/v1/tasks"].reach[caller.role] is not Reach.ALL:
            raise NotAllowed(field, "must be your own id")
        if not await accounts.existing(self._database, [recipient]):
            raise UnknownAccount(field)


def _shown(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a schedule that the audit log shows.

    Parameters are left out, because they may be encrypted or contain personal data.
    """
    return {name: value for name, value in columns.items() if name != "params"}


def _known(find: Callable[[], Found]) -> Found:
    """Return the result of `find`. Raises InvalidFields if `find` does not know the task name."""
    try:
        return find()
    except UnknownTask as error:
        rule = f"must be one of {', '.join(error.known)}"
        raise InvalidFields([FieldProblem("task_name", rule)]) from None


def _started(columns: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return `starts_at` and `next_fire_time` for a schedule that is new or has a new timing.

    The schedule starts now, so nominal times before now are not caught up.
    """
    start = now.replace(microsecond=0)
    following = scheduling.timing_of(columns).following(now, start=start)
    return {"starts_at": start, "next_fire_time": following if columns["enabled"] else None}


def _consequences(row: Mapping[str, Any], given: Mapping[str, Any], caller: Reader) -> dict[str, Any]:
    """Return the columns that have to change as a consequence of the requested changes. Raises
    InvalidFields.

    For example, a new timing changes the next nominal time.
    """
    now, merged = row["now"], {**row, **given}
    changes: dict[str, Any] = {}
    if given.keys() & scheduling.TIMING:
        scheduling.timing_of(merged).check(now)
        changes |= _started(merged, now)
    elif "enabled" in given:
        following = scheduling.timing_of(row).following(now, start=row["starts_at"])
        if given["enabled"] and following is None:
            rule = "cannot be true, because the schedule's only time has passed: give a new expression too"
            raise InvalidFields([FieldProblem("enabled", rule)])
        changes["next_fire_time"] = following if given["enabled"] else None
    if given.get("enabled") is True:
        changes |= {"paused_at": None, "paused_by": None}
    elif "enabled" in given:
        changes |= {"paused_at": now, "paused_by": caller.id}
    if row["source"] == "contract" and given.keys() - {"enabled"}:
        changes |= {"overridden_at": now, "overridden_by": caller.id}
    return changes


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        rule = "must be lower case words of letters, digits and underscores, joined by dots"
        raise InvalidFields([FieldProblem("name", rule)])
    if name in RESERVED:
        raise InvalidFields([FieldProblem("name", f"must not be {name}, which has a meaning of its own")])


def _check_policies(misfire: str, overlap: str) -> None:
    problems = []
    if misfire not in set(Misfire):
        problems.append(FieldProblem("misfire", f"must be one of {', '.join(Misfire)}"))
    if overlap not in OVERLAPS:
        problems.append(FieldProblem("overlap", f"must be one of {', '.join(OVERLAPS)}"))
    if problems:
        raise InvalidFields(problems)
