"""Reads what a task takes from other steps of its workflow, when its body begins.

A sealed field stays sealed in the row of the task that returned it. It is opened here and passed on to the
body only.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from shared.contracts.contract import Contract
from shared.contracts.outcome import StepOutcome
from shared.errors import PermanentError
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.vault import Vault
from shared.workflows.reference import Input, Kind, Source

#: Bytes of all results that one task reads.
MAX_INPUT_BYTES = 64 * 2**20

_ROW = "t.name AS contract, t.status, t.result::text AS result, t.error_kind, t.error_message"
#: The tasks of single steps. One that was skipped has none.
SINGLES = Statement(f"""
    SELECT s.name AS step, s.task, {_ROW} FROM workflow_step AS s LEFT JOIN task AS t ON t.id = s.task
    WHERE s.workflow = :workflow AND s.name = ANY(:steps::text[])
""")
#: The members of groups, in order.
MEMBERS = Statement(f"""
    SELECT t.step, t.id AS task, {_ROW} FROM task AS t
    WHERE t.workflow = :workflow AND t.step = ANY(:steps::text[]) ORDER BY t.step, t.member
""")
#: Bytes of the results of both.
SIZE = Statement("""
    SELECT coalesce(sum(pg_column_size(t.result)), 0)::bigint AS bytes FROM task AS t
    WHERE t.workflow = :workflow AND t.step = ANY(:steps::text[])
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
        rows = await self._rows(workflow, sources)
        return {name: self._value(each, rows) for name, each in wanted.items()}

    async def _rows(self, workflow: UUID, sources: Iterable[Source]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {source.step: [] for source in sources}
        groups = {source.step for source in sources if source.kind in (Kind.RESULTS, Kind.OUTCOMES)}
        if groups:
            await self._refuse_too_large(workflow, list(found))
        for statement, steps in ((SINGLES, found.keys() - groups), (MEMBERS, groups)):
            if steps:
                for row in await self._database.run(statement, workflow=workflow, steps=sorted(steps)):
                    found[row["step"]].append(row)
        return found

    async def _refuse_too_large(self, workflow: UUID, steps: list[str]) -> None:
        (row,) = await self._database.run(SIZE, workflow=workflow, steps=steps)
        if row["bytes"] > MAX_INPUT_BYTES:
            raise PermanentError(
                f"the results that this task reads have {row['bytes']:,} bytes, and {MAX_INPUT_BYTES:,} are "
                "allowed: let the members return less, or store what is large elsewhere"
            )

    def _value(self, each: Input, rows: Mapping[str, list[Row]]) -> Any:
        if not each.many:
            return self._of_source(each.sources[0], rows)
        values: list[Any] = []
        for source in each.sources:
            value = self._of_source(source, rows)
            values += value if source.kind in (Kind.RESULTS, Kind.OUTCOMES) else [value]
        return values

    def _of_source(self, source: Source, rows: Mapping[str, list[Row]]) -> Any:
        found = rows[source.step]
        match source.kind:
            case Kind.RESULTS:
                return [self._result(source, row) for row in found if row["status"] == "success"]
            case Kind.OUTCOMES:
                return [self._outcome(row) for row in found]
        if not found or (found[0]["task"] is not None and found[0]["status"] is None):
            raise PermanentError(f"the task of step {source.step!r} was deleted, and its result with it")
        if source.kind is Kind.OUTCOME:
            return self._outcome(found[0])
        return self._result(source, found[0])

    def _result(self, source: Source, row: Row) -> Any:
        if row["result"] is None:
            raise PermanentError(f"step {source.step!r} has no result: it is {row['status'] or 'skipped'}")
        value = self._document(row)
        for name in source.path:
            value = value[name] if isinstance(value, dict) and name in value else None
        return value

    def _outcome(self, row: Row) -> dict[str, Any]:
        outcome = StepOutcome(
            status=row["status"] or "skipped",
            result=None if row["result"] is None else self._document(row),
            error_kind=row["error_kind"],
            error_message=row["error_message"],
        )
        plain: dict[str, Any] = msgspec.to_builtins(outcome)
        return plain

    def _document(self, row: Row) -> Any:
        contract = self._contracts.get(row["contract"])
        if contract is None or not contract.sensitive_result:
            return msgspec.json.decode(row["result"])
        return self._vault.open_result(contract, row["result"])
