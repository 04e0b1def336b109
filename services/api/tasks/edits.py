"""Checks the changes that a caller requests for a waiting task or with a retry.

They are checked against the task's contract, the caller's quotas and the caller's rights.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from services.api.http.errors import NotAllowed, UnknownAccount
from services.api.identity import accounts
from services.api.identity.rights import Reader
from services.api.quotas.quotas import Quotas
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract, Params
from shared.errors import FieldProblem, InvalidFields, TaskNotFound
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
    """A requested change of a task that has passed all checks."""

    #: Parameters for the SQL statements in `shared.ledger.transitions.operate` that apply the
    #: change.
    values: Mapping[str, Any]
    #: The part of the change that is written to the audit log. It does not contain the values of
    #: task parameters.
    shown: Mapping[str, Any]
    reason: str | None
    #: Names of the sensitive parameters that the request leaves unchanged, and the encoded
    #: parameters from which their values were taken. If the stored parameters have changed since
    #: then, the edit is refused.
    kept: frozenset[str] = frozenset()
    kept_from: str = ""


class Edits:
    """Checks the changes for all routes that change tasks."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        vault: Vault,
        quotas: Quotas,
        known_queues: Callable[[], Awaitable[list[str]]],
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._vault = vault
        self._quotas = quotas
        self._known_queues = known_queues

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
        """Check a requested change of a task. An argument that is None leaves its field unchanged.

        Raises InvalidFields, TaskNotFound, UnknownTask, NotAllowed or UnknownAccount. Raises
        VaultError if a sensitive parameter should stay unchanged but cannot be decrypted.
        """
        shown: dict[str, Any] = {"queue": queue, "priority": priority}
        kept, kept_from = frozenset[str](), ""
        values = {**UNEDITED, **shown}
        if queue is not None:
            await self._check_queue(queue)
        if priority is not None:
            self._check_priority(task, priority, reader)
        if params is not None:
            contract = self._catalogue.get_stored(task["name"])
            kept = frozenset(name for name in contract.sensitive_params if params.get(name) == MASK)
            row = await self._read(task)
            stored = await self._stored(contract, task, row, params, kept, reader)
            values |= {"params": stored.text, "key_id": stored.key_id, "version": contract.version}
            shown["params"], kept_from = "changed", row["params"]
        given = {name: value for name, value in shown.items() if value is not None}
        return Edit(values, given, reason, kept, kept_from)

    async def _check_queue(self, queue: str) -> None:
        known = await self._known_queues()
        if queue not in known:
            raise InvalidFields([FieldProblem("queue", f"must be one of {', '.join(known)}")])

    def _check_priority(self, task: Mapping[str, Any], priority: int, reader: Reader) -> None:
        contract = self._catalogue.get_stored(task["name"])
        rule = self._quotas.priority_rule(contract, priority, reader)
        if rule is not None:
            raise InvalidFields([FieldProblem("priority", rule)])

    async def _read(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Read the task's stored parameters.

        Raises TaskNotFound if the task has been removed in the meantime. Raises InvalidFields if
        some parameters are read from other workflow steps, because such parameters cannot be
        replaced.
        """
        rows = await self._database.run(STORED, id=task["id"])
        if not rows:
            raise TaskNotFound(task["id"])
        if rows[0]["has_inputs"]:
            rule = "are read from other steps of the workflow in part, so they cannot be replaced"
            raise InvalidFields([FieldProblem("params", rule)])
        return rows[0]

    async def _stored(
        self,
        contract: Contract[Any, Any],
        task: Mapping[str, Any],
        row: Mapping[str, Any],
        given: dict[str, Any],
        kept: frozenset[str],
        reader: Reader,
    ) -> Stored:
        """Check the new parameters as in a submission, and encode them for the task's row.

        Sensitive parameters are encrypted.
        """
        params = contract.check_params({**given, **self._kept(contract, task, row, kept)})
        if contract.rules_for_new is not None:
            problems = list(contract.rules_for_new(params, self._database.now()))
            if problems:
                raise InvalidFields(problems)
        await self._check_recipient(contract, params, row, reader)
        return self._vault.seal_params(contract, params, _row(task), task["owner"])

    def _kept(
        self,
        contract: Contract[Any, Any],
        task: Mapping[str, Any],
        row: Mapping[str, Any],
        kept: frozenset[str],
    ) -> dict[str, Any]:
        """Decrypt the stored values of the sensitive fields that the request leaves unchanged.

        For such a field, the caller sent the mask `[hidden]`. A mask in a field that is not
        sensitive is refused later, when the parameters are encrypted.
        """
        if not kept:
            return {}
        bound_to, version = _row(task), row["contract_version"]
        opened, _ = self._vault.open_params(contract, row["params"], bound_to, task["owner"], version)
        return {name: value for name, value in msgspec.to_builtins(opened).items() if name in kept}

    async def _check_recipient(
        self, contract: Contract[Any, Any], params: Params, row: Mapping[str, Any], reader: Reader
    ) -> None:
        """Check that the new parameters do not make the task one for an account that the caller may
        not use.

        Raises NotAllowed or UnknownAccount.
        """
        recipient, former = contract.recipient_of(params), msgspec.json.decode(row["params"])
        if recipient in (None, reader.id, former.get(contract.recipient)):
            return
        field = f"params.{contract.recipient}"
        if reader.role is not Role.ADMINISTRATOR:
            raise NotAllowed(field, "must be your own id, or stay as it is")
        if not await accounts.existing(self._database, [recipient]):
            raise UnknownAccount(field)


def _row(task: Mapping[str, Any]) -> Any:
    """Return the identity of the row that stores the task's parameters.

    Encrypted parameters are bound to their row and cannot be decrypted in another one.
    """
    return params_row(task["id"], task["workflow"], task["step"], task["member"])
