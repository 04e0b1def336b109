"""Reads what a task takes from other steps of its workflow, when its body begins.

A sealed field stays sealed in the row of the task that returned it. It is opened here and passed on to the
body only.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.contracts.contract import Contract
from shared.errors import PermanentError
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.vault import Vault
from shared.workflows.inputs import End, values
from shared.workflows.reference import Input, Kind, Source

#: Bytes of all results that one task reads.
MAX_INPUT_BYTES = 64 * 2**20

_END = """
    t.id AS found, t.owner, t.name AS contract, t.status, t.result::text AS result, t.error_kind,
    t.error_message
"""
#: A step that waits or was skipped has no ends: its tasks, if there are any, are those of a former run.
_OF_THIS_RUN = "s.state NOT IN ('waiting', 'skipped')"
#: The tasks of single steps. One that was skipped has none; one that was deleted is not found.
SINGLES = Statement(f"""
    SELECT s.name AS step, CASE WHEN {_OF_THIS_RUN} THEN s.task END AS task, {_END}
    FROM workflow_step AS s LEFT JOIN task AS t ON t.id = s.task AND {_OF_THIS_RUN}
    WHERE s.workflow = :workflow AND s.name = ANY(:steps::text[])
""")
#: The members of groups, in order.
MEMBERS = Statement(f"""
    SELECT t.step, t.id AS task, {_END}
    FROM workflow_step AS s JOIN task AS t ON t.workflow = s.workflow AND t.step = s.name
    WHERE s.workflow = :workflow AND s.name = ANY(:steps::text[]) AND {_OF_THIS_RUN}
    ORDER BY t.step, t.member
""")
#: Bytes of the results of some steps.
SIZE = Statement(f"""
    SELECT coalesce(sum(pg_column_size(t.result)), 0)::bigint AS bytes
    FROM workflow_step AS s JOIN task AS t ON t.workflow = s.workflow AND t.step = s.name
    WHERE s.workflow = :workflow AND s.name = ANY(:steps::text[]) AND {_OF_THIS_RUN}
""")

_DECODER = msgspec.json.Decoder(dict[str, Input])
Row = Mapping[str, Any]


class Inputs:
    """Runs on the loop of async bodies."""

    def __init__(self, database: Database, contracts: Mapping[str, Contract[Any, Any]], vault: Vault) -> None:
        self._database = database
        self._contracts = contracts
        self._vault = vault

    async def read(self, workflow: UUID, inputs: str) -> dict[str, Any]:
        """Parameters by name as JSON has them. Raises PermanentError when they are gone or too large."""
        wanted = _DECODER.decode(inputs)
        sources = [source for each in wanted.values() for source in each.sources]
        return values(wanted, await self._ends(workflow, sources))

    async def _ends(self, workflow: UUID, sources: Sequence[Source]) -> dict[str, list[End]]:
        found: dict[str, list[End]] = {source.step: [] for source in sources}
        groups = {source.step for source in sources if source.kind in (Kind.RESULTS, Kind.OUTCOMES)}
        if groups:
            await self._refuse_too_large(workflow, list(found))
        for statement, steps in ((SINGLES, found.keys() - groups), (MEMBERS, groups)):
            if steps:
                for row in await self._database.run(statement, workflow=workflow, steps=sorted(steps)):
                    if row["found"] is not None or row["task"] is None:
                        found[row["step"]].append(self._end(row))
        return found

    async def _refuse_too_large(self, workflow: UUID, steps: list[str]) -> None:
        (row,) = await self._database.run(SIZE, workflow=workflow, steps=steps)
        if row["bytes"] > MAX_INPUT_BYTES:
            raise PermanentError(
                f"the results that this task reads have {row['bytes']:,} bytes, and {MAX_INPUT_BYTES:,} are "
                "allowed: let the members return less, or store what is large elsewhere"
            )

    def _end(self, row: Row) -> End:
        return End(
            status=row["status"],
            result=None if row["result"] is None else self._document(row),
            error_kind=row["error_kind"],
            error_message=row["error_message"],
        )

    def _document(self, row: Row) -> Any:
        contract = self._contracts.get(row["contract"])
        if contract is None or not contract.sensitive_result:
            return msgspec.json.decode(row["result"])
        return self._vault.open_result(contract, row["result"], UUID(int=row["found"].int), row["owner"])
