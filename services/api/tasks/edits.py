"""Checks what is to be changed of a task that waits or begins again: by its contract, quotas and rights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.identity import accounts
from services.api.identity.rights import Reader
from services.api.operations.queues import QueueControls
from services.api.quotas.quotas import Quotas
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract, Params
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.operate import UNEDITED
from shared.vault import MASK, Stored, Vault, params_row

STORED = Statement(
    "SELECT params, contract_version, inputs IS NOT NULL AS has_inputs FROM task WHERE id = :id"
)


@dataclass(frozen=True, slots=True)
class Edit:
    """A checked edit."""

    #: Values for the statements in `operate`.
    values: Mapping[str, Any]
    #: The part that the audit log shows. It has no parameters of tasks.
    shown: Mapping[str, Any]
    reason: str | None


class Edits:
    """What the routes that change tasks have in common."""

    def __init__(
        self, database: Database, catalogue: Catalogue, vault: Vault, quotas: Quotas, queues: QueueControls
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._vault = vault
        self._quotas = quotas
        self._queues = queues

    async def checked(
        self,
        task: Mapping[str, Any],
        reader: Reader,
        *,
        params: dict[str, Any] | None,
        queue: str | None,
        priority: int | None,
        reason: str | None,
    ) -> Edit:
        """None leaves a value as it is.

        Raises InvalidFields, UnknownTask, NotAllowed, UnknownAccount, or VaultError when a sensitive field is
        to stay and does not open.
        """
        shown: dict[str, Any] = {"queue": queue, "priority": priority}
        values = {**UNEDITED, **shown}
        if queue is not None:
            await self._check_queue(queue)
        if priority is not None:
            self._check_priority(task, priority, reader)
        if params is not None:
            contract = self._catalogue.get_stored(task["name"])
            stored = await self._stored(contract, task, params, reader)
            values |= {"params": stored.text, "key_id": stored.key_id, "version": contract.version}
            shown["params"] = "changed"
        return Edit(values, {name: value for name, value in shown.items() if value is not None}, reason)

    async def _check_queue(self, queue: str) -> None:
        known = await self._queues.known()
        if queue not in known:
            raise InvalidFields([FieldProblem("queue", f"must be one of {', '.join(known)}")])

    def _check_priority(self, task: Mapping[str, Any], priority: int, reader: Reader) -> None:
        contract = self._catalogue.get_stored(task["name"])
        rule = self._quotas.priority_rule(contract, priority, reader)
        if rule is not None:
            raise InvalidFields([FieldProblem("priority", rule)])

    async def _stored(
        self, contract: Contract[Any, Any], task: Mapping[str, Any], given: dict[str, Any], reader: Reader
    ) -> Stored:
        """The new parameters, checked as those of a submission, and sealed for the task's row."""
        (row,) = await self._database.run(STORED, id=task["id"])
        if row["has_inputs"]:
            rule = "are read from other steps of the workflow in part, so they cannot be replaced"
            raise InvalidFields([FieldProblem("params", rule)])
        params = contract.check_params({**given, **self._hidden(contract, task, row, given)})
        if contract.rules_for_new is not None:
            problems = list(contract.rules_for_new(params, self._database.now()))
            if problems:
                raise InvalidFields(problems)
        await self._check_recipient(contract, params, row, reader)
        return self._vault.seal_params(contract, params, _row(task), task["owner"])

    def _hidden(
        self,
        contract: Contract[Any, Any],
        task: Mapping[str, Any],
        row: Mapping[str, Any],
        given: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The values of sensitive fields that are sent as they are shown: these stay."""
        hidden = {name for name in contract.sensitive_params if given.get(name) == MASK}
        if not hidden:
            return {}
        bound_to, version = _row(task), row["contract_version"]
        opened, _ = self._vault.open_params(contract, row["params"], bound_to, task["owner"], version)
        return {name: value for name, value in msgspec.to_builtins(opened).items() if name in hidden}

    async def _check_recipient(
        self, contract: Contract[Any, Any], params: Params, row: Mapping[str, Any], reader: Reader
    ) -> None:
        """An edit reaches no account that the editor could not reach with a submission."""
        recipient, former = contract.recipient_of(params), msgspec.json.decode(row["params"])
        if recipient in (None, reader.id, former.get(contract.recipient)):
            return
        field = f"params.{contract.recipient}"
        if reader.role is not Role.ADMINISTRATOR:
            raise NotAllowed(field, "must be your own id, or stay as it is")
        if not await accounts.existing(self._database, [recipient]):
            raise UnknownAccount(field)


def _row(task: Mapping[str, Any]) -> Any:
    """What a seal of its parameters is bound to."""
    return params_row(task["id"], task["workflow"], task["step"], task["member"])
