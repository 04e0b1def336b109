"""Reads the parameters that a task takes from the results of other steps in its workflow.

They are read when the task starts. A sensitive field stays encrypted in the row of the task that
returned it. It is decrypted here and passed only to the task body.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.contracts.contract import Contract
from shared.errors import PermanentError
from shared.ledger.database import Database
from shared.ledger.members import tasks_of_step
from shared.ledger.statement import Statement
from shared.vault import Vault
from shared.workflows.inputs import End, values
from shared.workflows.reference import Input, Kind, Source

#: Maximum total size in bytes, as JSON text, of the results of other steps that one task may read.
MAX_INPUT_BYTES = 64 * 2**20

_END = """
    t.id AS found, t.owner, t.name AS contract, t.status, t.result::text AS result, t.error_kind,
    t.error_message
"""
#: SQL condition: the step `s` has been executed in the current run of its workflow. A step that is
#: waiting or was skipped has no results in this run. If it has tasks, they belong to an earlier
#: run.
_OF_THIS_RUN = "s.state NOT IN ('waiting', 'skipped')"
#: Reads the task of each given step that is a single task. `task` is null for a step that was
#: skipped. `found` is null if the row of the task was deleted.
SINGLES = Statement(f"""
    SELECT s.name AS step, CASE WHEN {_OF_THIS_RUN} THEN s.task END AS task, {_END}
    FROM workflow_step AS s LEFT JOIN task AS t ON t.id = s.task AND {_OF_THIS_RUN}
    WHERE s.workflow = :workflow AND s.name = ANY(:steps::text[])
""")
#: Reads the members of the given groups as one row of arrays per group, in the order of the
#: members. For a group of 10,000 members, this costs the worker 15 ms; one row per member would
#: cost 47 ms. All members of a group have the same owner and contract.
MEMBERS = Statement(f"""
    SELECT s.name AS step, members.*
    FROM workflow_step AS s CROSS JOIN LATERAL (
        SELECT min(owner) AS owner, min(name) AS contract, array_agg(id::text) AS ids,
            array_agg(status) AS statuses, array_agg(result::text) AS results,
            array_agg(error_kind) AS error_kinds, array_agg(error_message) AS error_messages
        FROM (SELECT * FROM task WHERE id BETWEEN s.task AND s.last_task ORDER BY id) AS t
        HAVING count(*) > 0
    ) AS members
    WHERE s.workflow = :workflow AND s.name = ANY(:steps::text[]) AND {_OF_THIS_RUN}
""")
#: Returns a row if the results of the given steps, as the text that MEMBERS reads, exceed `limit`
#: bytes. The size of the stored values says too little, because Postgres compresses them. The
#: statement stops at the result that exceeds the limit: together, the results of a group may take
#: 10 GB.
TOO_LARGE = Statement(f"""
    SELECT 1 FROM (
        SELECT sum(octet_length(t.result::text)) OVER (ROWS UNBOUNDED PRECEDING) AS bytes
        FROM workflow_step AS s CROSS JOIN {tasks_of_step()}
        WHERE s.workflow = :workflow AND s.name = ANY(:steps::text[]) AND {_OF_THIS_RUN}
    ) AS running WHERE bytes > :limit LIMIT 1
""")

_DECODER = msgspec.json.Decoder(dict[str, Input])
Row = Mapping[str, Any]


class Inputs:
    """Reads task parameters from other steps, on the event loop of async task bodies."""

    def __init__(self, database: Database, contracts: Mapping[str, Contract[Any, Any]], vault: Vault) -> None:
        self._database = database
        self._contracts = contracts
        self._vault = vault

    async def read(self, workflow: UUID, inputs: str) -> dict[str, Any]:
        """Return the parameters that `inputs` describes, by name, as decoded JSON.

        Raises PermanentError if the results they come from were deleted or are too large.
        """
        wanted = _DECODER.decode(inputs)
        sources = [source for each in wanted.values() for source in each.sources]
        return values(wanted, await self._ends(workflow, sources))

    async def _ends(self, workflow: UUID, sources: Sequence[Source]) -> dict[str, list[End]]:
        found: dict[str, list[End]] = {source.step: [] for source in sources}
        groups = {source.step for source in sources if source.kind in (Kind.RESULTS, Kind.OUTCOMES)}
        if groups:
            await self._refuse_too_large(workflow, list(found))
            for row in await self._database.run(MEMBERS, workflow=workflow, steps=sorted(groups)):
                found[row["step"]] = self._members(row)
        if singles := sorted(found.keys() - groups):
            for row in await self._database.run(SINGLES, workflow=workflow, steps=singles):
                if row["found"] is not None or row["task"] is None:
                    found[row["step"]].append(self._end(row))
        return found

    async def _refuse_too_large(self, workflow: UUID, steps: list[str]) -> None:
        if await self._database.run(TOO_LARGE, workflow=workflow, steps=steps, limit=MAX_INPUT_BYTES):
            raise PermanentError(
                f"the results that this task reads take more than {MAX_INPUT_BYTES:,} bytes, which is the "
                "limit: let the members return less, or store large data elsewhere"
            )

    def _members(self, row: Row) -> list[End]:
        ends = zip(
            row["statuses"], self._results(row), row["error_kinds"], row["error_messages"], strict=True
        )
        return [
            End(status=status, result=result, error_kind=kind, error_message=message)
            for status, result, kind, message in ends
        ]

    def _results(self, row: Row) -> list[Any]:
        contract, texts = self._contracts.get(row["contract"]), row["results"]
        if contract is None or not contract.sensitive_result:
            decoded: list[Any] = msgspec.json.decode(f"[{','.join(text or 'null' for text in texts)}]")
            return decoded
        return [
            None if text is None else self._vault.open_result(contract, text, UUID(task_id), row["owner"])
            for text, task_id in zip(texts, row["ids"], strict=True)
        ]

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
